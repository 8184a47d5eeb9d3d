#include "text/exact_json.h"

#include <gtest/gtest.h>

#include "support/throws_error.h"

namespace dak {
namespace {

std::string printed(const char* arguments) {
  const ChatTemplate by("{{ messages[0].x | tojson }}|{{ messages[0].x.n }}", "t");
  ChatInput input;
  input.messages.push_back({{"x", parse_exact_json(arguments)}});
  return by.render(input);
}

TEST(ExactJsonTest, NumbersKeepTheirDigits) {
  EXPECT_EQ(printed(R"({"n": 123456789012345678901234567890})"),
            R"({"n": 123456789012345678901234567890}|123456789012345678901234567890)");
  EXPECT_EQ(printed(R"({"n": -18446744073709551616})"),
            R"({"n": -18446744073709551616}|-18446744073709551616)");
  EXPECT_EQ(printed(R"({"n": 18446744073709551615})"),
            R"({"n": 18446744073709551615}|18446744073709551615)");
  EXPECT_EQ(printed(R"({"n": 0.12345678901234567891})"),
            R"({"n": 0.12345678901234567891}|0.12345678901234567891)");
  // What a double holds is printed as Python prints it.
  EXPECT_EQ(printed(R"({"n": 1.50})"), R"({"n": 1.5}|1.5)");
  EXPECT_EQ(printed(R"({"n": 1e5})"), R"({"n": 100000.0}|100000.0)");
  EXPECT_EQ(printed(R"({"n": -7})"), R"({"n": -7}|-7)");
}

TEST(ExactJsonTest, TemplatesSeeNumbers) {
  const ChatTemplate by(
      "{% set n = messages[0].n %}{{ n is integer }} {{ n is string }} {{ n > 5 }} {{ n == m }} "
      "{{ n | int }} {{ n ~ '!' }} {% if n %}yes{% endif %}",
      "t");
  ChatInput input;
  input.messages.push_back(parse_exact_json(R"({"n": 100000000000000000000})"));
  EXPECT_EQ(by.render(input),
            "True False True False 100000000000000000000 100000000000000000000! yes");
  const ChatTemplate sum("{{ messages[0].n + 1 }}", "t");
  EXPECT_TRUE(test::throws_error(ErrorCode::kInvalidArgument, "does not fit 64 bits",
                                 [&] { sum.render(input); }));
}

TEST(ExactJsonTest, OrderAndBounds) {
  EXPECT_EQ(
      exact_json_text(parse_exact_json(R"({"b":[1, {"c":null}],"a":"\u00e9\"", "n":1.0e-400})")),
      "{\"b\": [1, {\"c\": null}], \"a\": \"\xc3\xa9\\\"\", \"n\": 1.0e-400}");
  EXPECT_EQ(parse_exact_json(R"({"a": 1, "a": 2})").dump(), R"({"a":2})");
  EXPECT_TRUE(test::throws_error(ErrorCode::kCorrupt, "more than 2 members",
                                 [] { parse_exact_json(R"({"a": 1, "b": 2, "c": 3})", 2); }));
  EXPECT_TRUE(test::throws_error(ErrorCode::kCorrupt, "is no JSON from byte",
                                 [] { parse_exact_json("{\"a\": "); }));
  EXPECT_EQ(without_digits(parse_exact_json(R"({"n": [100000000000000000000, 1]})")).dump(),
            R"({"n":[1e+20,1]})");
}

}  // namespace
}  // namespace dak
