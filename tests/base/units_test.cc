#include "base/units.h"

#include <gtest/gtest.h>

#include "support/throws_error.h"

namespace dak {
namespace {

using test::throws_error;

TEST(Units, ParsesWhatPeopleWrite) {
  EXPECT_EQ(parse_bytes("0", "f"), 0);
  EXPECT_EQ(parse_bytes("100000", "f"), 100000);
  EXPECT_EQ(parse_bytes("1k", "f"), 1024);
  EXPECT_EQ(parse_bytes("512MiB", "f"), int64_t{512} << 20);
  EXPECT_EQ(parse_bytes("1.5 g", "f"), int64_t{3} << 29);
  EXPECT_EQ(parse_bytes("2TB", "f"), int64_t{2} << 40);
}

TEST(Units, RefusesTheRest) {
  const auto refused = [](std::string_view text, std::string_view problem) {
    EXPECT_TRUE(throws_error(ErrorCode::kInvalidArgument,
                             {"--flag: '" + std::string(text) + "': ", problem, "512MiB"},
                             [&] { parse_bytes(text, "--flag"); }));
  };
  for (const char* text : {"x", "-1", "nan", "kb"}) refused(text, "is not a size");
  for (const char* text : {"1q", "1kk", "1 2", "1ik", "1e"}) refused(text, "has an unknown unit");
  for (const char* text : {"1e300", "inf", "4194304TiB"}) refused(text, "is too large");
  EXPECT_TRUE(throws_error(ErrorCode::kInvalidArgument, "--flag: is not a size",
                           [] { parse_bytes("", "--flag"); }));
}

TEST(Units, Prints) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1536), "1.50 KiB");
  EXPECT_EQ(format_bytes(int64_t{257} << 20), "257 MiB");
  EXPECT_EQ(format_rate(51.1e9), "51.1 GB/s");
}

}  // namespace
}  // namespace dak
