// Where a page keeps what.
#include "ops/cuda/kv_layout.h"

#include <gtest/gtest.h>

namespace dak::cuda {
namespace {

TEST(KvLayout, SwizzleIsAPermutationOfARow) {
  for (const int units : {2, 4, 8, 10, 12, 16, 32}) {
    for (int token = 0; token < 64; ++token) {
      uint64_t seen = 0;
      for (int unit = 0; unit < units; ++unit) seen |= uint64_t{1} << kv_unit(token, unit, units);
      EXPECT_EQ(seen, (uint64_t{1} << units) - 1);
    }
  }
}

}  // namespace
}  // namespace dak::cuda
