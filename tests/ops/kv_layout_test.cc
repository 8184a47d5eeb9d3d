// Where a page keeps what.
#include "ops/cuda/kv_layout.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace dak::cuda {
namespace {

TEST(KvLayout, EveryUnitOfAPageHasItsOwnPlace) {
  for (const int units : {2, 4, 8, 10, 12, 16, 32}) {
    std::vector<int> taken(static_cast<size_t>(64 * units));
    for (int token = 0; token < 64; ++token) {
      for (int unit = 0; unit < units; ++unit) {
        const int place = kv_place(token, unit, units);
        EXPECT_EQ(kv_token_at(place, units), token);
        ++taken.at(static_cast<size_t>(place));
      }
    }
    EXPECT_EQ(std::ranges::count(taken, 1), std::ssize(taken)) << units;
  }
}

TEST(KvLayout, PartsShareOutARun) {
  EXPECT_EQ(kRunPages % part_pages(1), 0);
  EXPECT_EQ(part_pages(2), kRunPages);
  const RingPieces pieces = ring_pieces(8, 8, 128, 3, 33);
  EXPECT_EQ(pieces.runs, 3);
  EXPECT_EQ(pieces.groups, 1);
  EXPECT_EQ(pieces.run_floats, 3 * 8 * 3 * piece_floats(1, 128));
  EXPECT_EQ(ring_pieces(128, 8, 128, 3, 33).part_floats, 0);
}

}  // namespace
}  // namespace dak::cuda
