#include "base/units.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace dak {
namespace {

TEST(Units, ParsesWhatPeopleWrite) {
  EXPECT_EQ(parse_bytes("0", "f"), 0);
  EXPECT_EQ(parse_bytes("100000", "f"), 100000);
  EXPECT_EQ(parse_bytes("1k", "f"), 1024);
  EXPECT_EQ(parse_bytes("512MiB", "f"), int64_t{512} << 20);
  EXPECT_EQ(parse_bytes("1.5 g", "f"), int64_t{3} << 29);
  EXPECT_EQ(parse_bytes("2TB", "f"), int64_t{2} << 40);
}

TEST(Units, RefusesTheRest) {
  for (const char* text : {"", "x", "-1", "1q", "1kk", "nan", "1e300", "1 2", "inf"}) {
    EXPECT_THROW(parse_bytes(text, "--flag"), Error) << text;
  }
}

TEST(Units, Prints) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1536), "1.50 KiB");
  EXPECT_EQ(format_bytes(int64_t{257} << 20), "257 MiB");
  EXPECT_EQ(format_rate(51.1e9), "51.1 GB/s");
}

}  // namespace
}  // namespace dak
