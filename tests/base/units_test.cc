#include "base/units.h"

#include <gtest/gtest.h>

#include "base/numbers.h"
#include "support/throws_error.h"

namespace dak {
namespace {

using test::throws_error;

TEST(Units, BinaryAndDecimalSizes) {
  EXPECT_EQ(parse_bytes("0", "f"), 0);
  EXPECT_EQ(parse_bytes("100000B", "f"), 100000);
  int64_t binary = 1;
  int64_t decimal = 1;
  for (const std::string prefix : {"k", "m", "g", "t", "p"}) {
    binary *= 1024;
    decimal *= 1000;
    for (const std::string unit : {"", "iB", "ib"}) {
      EXPECT_EQ(parse_bytes("3" + prefix + unit, "f"), 3 * binary) << prefix << unit;
      EXPECT_EQ(parse_bytes("1.5 " + prefix + unit, "f"), binary + binary / 2) << prefix << unit;
    }
    for (const std::string unit : {"B", "b"}) {
      EXPECT_EQ(parse_bytes("3" + prefix + unit, "f"), 3 * decimal) << prefix << unit;
      EXPECT_EQ(parse_bytes("1.5 " + prefix + unit, "f"), decimal + decimal / 2) << prefix << unit;
    }
  }
  EXPECT_EQ(parse_bytes("24GB", "f"), 24'000'000'000);
  EXPECT_EQ(parse_bytes("24GiB", "f"), int64_t{24} << 30);
  EXPECT_EQ(parse_bytes("2TB", "f"), 2'000'000'000'000);
  EXPECT_EQ(parse_bytes("7kB", "f"), 7000);
}

TEST(Units, RefusesOtherSizes) {
  const auto refused = [](std::string_view text, std::string_view problem, std::string_view fix) {
    EXPECT_TRUE(throws_error(ErrorCode::kInvalidArgument,
                             {"--flag: '" + std::string(text) + "': ", problem, fix},
                             [&] { parse_bytes(text, "--flag"); }));
  };
  for (const char* text : {"x", "nan", "inf", "kb", "+1g", "1.2.3GiB", " 1g"}) {
    refused(text, "is not a size", "24GiB");
  }
  for (const char* text : {"-1", "-1GiB", "-inf"}) refused(text, "is a negative size", "24GiB");
  for (const char* text : {"1q", "1kk", "1 2", "1ik", "1e", "1e3", "1gi", "1GiBs", "2GB,"}) {
    refused(text, "has an unknown unit", "24GB");
  }
  refused("24", "is a size without a unit", "write 24GiB, 24MiB or, for bytes, 24B");
  refused("1.5", "is a size without a unit", "1.5GiB");
  const std::string digits(60, '9');
  for (const std::string& text : {digits + "B", std::string("4194304TiB"), std::string("1e7PB")}) {
    const bool huge = text.find('e') == std::string::npos;
    refused(text, huge ? "is too large" : "has an unknown unit", "24GiB");
  }
  EXPECT_TRUE(throws_error(ErrorCode::kInvalidArgument, "--flag: is not a size",
                           [] { parse_bytes("", "--flag"); }));
}

TEST(Units, CountsTokens) {
  const std::vector<std::pair<const char*, int64_t>> known{
      {"0", 0}, {"4096", 4096}, {"8k", 8192}, {"8K", 8192}, {"1.5k", 1536}, {"2m", 2 << 20}};
  for (const auto& [text, tokens] : known) EXPECT_EQ(parse_tokens(text, "f"), tokens) << text;
  const std::vector<std::pair<const char*, const char*>> wrong{
      {"", "is not a number"},      {"many", "is not a number"},
      {"8kb", "is not a number"},   {"8g", "is not a number"},
      {"1e3", "is not a number"},   {"nan", "is not a number"},
      {"8k9", "is not a number"},   {"-1", "is a negative"},
      {"0.3k", "is not a whole"},   {"1.5", "is not a whole"},
      {"9999999999m", "too large"}, {"99999999999999999999", "too large"}};
  for (const auto& [text, problem] : wrong) {
    EXPECT_TRUE(throws_error(ErrorCode::kInvalidArgument, {"--flag: ", problem, "8k (8192)"},
                             [text = text] { parse_tokens(text, "--flag"); }));
  }
}

TEST(Units, ReadsNumbersToTheirEnd) {
  EXPECT_EQ(parse_whole("-007", "f"), -7);
  EXPECT_EQ(parse_unsigned("18446744073709551615", "f"), UINT64_MAX);
  EXPECT_EQ(parse_real("1e-3", "f"), 1e-3);
  const auto refused = [](const auto& parse, std::string_view text, std::string_view problem) {
    EXPECT_TRUE(throws_error(ErrorCode::kInvalidArgument, {"--flag: ", problem}, [&] {
      parse(text, "--flag");
    })) << text;
  };
  for (const char* text : {"", "x", "1x", "0x10", "1.5", "8k", "--1"}) {
    refused(parse_whole, text, "is not a whole number");
    refused(parse_unsigned, text, "is not a whole number from 0 on");
  }
  refused(parse_unsigned, "-1", "from 0 on");
  for (const char* text : {"", "x", "1x", "0,5"}) refused(parse_real, text, "is not a number");
  for (const char* text : {"nan", "inf", "-inf"}) refused(parse_real, text, "not a finite number");
  refused(parse_whole, "9223372036854775808", "is out of range");
  refused(parse_unsigned, "18446744073709551616", "is out of range");
  refused(parse_real, "1e999", "is out of range");
}

TEST(Units, Prints) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1536), "1.50 KiB");
  EXPECT_EQ(format_bytes(int64_t{257} << 20), "257 MiB");
  EXPECT_EQ(format_rate(51.1e9), "51.1 GB/s");
}

}  // namespace
}  // namespace dak
