// throws_error must fail when it should: every case here is one that EXPECT_THROW lets pass.
#include "support/throws_error.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace dak::test {
namespace {

void refuse() { throw_invalid("--budget", "local", "12 GB", "is negative", "give a size above 0"); }

std::string failure_of(const testing::AssertionResult& result) {
  return result ? "passed" : result.message();
}

std::string failure_of(ErrorCode code, const ErrorWords& words, void (*call)() = refuse) {
  return failure_of(throws_error(code, words, call));
}

TEST(ThrowsError, CodeAndAllWordsPass) {
  EXPECT_EQ(failure_of(ErrorCode::kInvalidArgument, "--budget: local '12 GB': is negative; give"),
            "passed");
  EXPECT_EQ(failure_of(ErrorCode::kInvalidArgument, {"--budget", "negative"}), "passed");
  EXPECT_EQ(failure_of(ErrorCode::kInvalidArgument, std::string("local")), "passed");
  EXPECT_EQ(failure_of(ErrorCode::kInvalidArgument, std::string_view("local")), "passed");
  EXPECT_EQ(failure_of(ErrorCode::kInvalidArgument, std::vector<std::string>{"local", "12 GB"}),
            "passed");
}

TEST(ThrowsError, NothingThrownFails) {
  EXPECT_EQ(failure_of(ErrorCode::kNotFound, "local", [] {}),
            "nothing was thrown; expected kNotFound");
}

TEST(ThrowsError, AnotherCodeFailsAndShowsTheMessage) {
  const std::string failure = failure_of(ErrorCode::kCorrupt, "local");
  EXPECT_EQ(failure.find("not kCorrupt but kInvalidArgument: --budget"), 0u) << failure;
}

TEST(ThrowsError, OneMissingWordFailsAndIsNamed) {
  for (const ErrorWords& words : {ErrorWords{"host"}, ErrorWords{"local", "host"},
                                  ErrorWords{"host", "local"}, ErrorWords{"local", "host", "12"}}) {
    const std::string failure = failure_of(ErrorCode::kInvalidArgument, words);
    EXPECT_EQ(failure.find("\"host\" is not in: --budget"), 0u) << failure;
  }
  EXPECT_NE(failure_of(ErrorCode::kInvalidArgument, "LOCAL"), "passed");
}

TEST(ThrowsError, NoWordsFail) {
  EXPECT_EQ(failure_of(ErrorCode::kInvalidArgument, ""), "the test names an empty word");
  EXPECT_EQ(failure_of(ErrorCode::kInvalidArgument, {"local", ""}), "the test names an empty word");
  EXPECT_EQ(failure_of(ErrorCode::kInvalidArgument, std::vector<std::string>{}),
            "the test names no words");
}

TEST(ThrowsError, AnotherExceptionFails) {
  EXPECT_EQ(
      failure_of(ErrorCode::kInvalidArgument, "local", [] { throw std::runtime_error("local"); }),
      "not a dak::Error: local");
}

TEST(ThrowsError, MoreThanOneLineFails) {
  const auto two_lines = [] { throw_invalid("--budget", "local", "", "is\nnegative", ""); };
  EXPECT_EQ(failure_of(ErrorCode::kInvalidArgument, "local", two_lines),
            "more than one line: --budget: local: is\nnegative");
}

}  // namespace
}  // namespace dak::test
