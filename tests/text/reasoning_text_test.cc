#include "text/reasoning_text.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace dak {
namespace {

struct Parts {
  std::string reasoning;
  std::string text;
  bool operator==(const Parts&) const = default;
};

Parts divided(const std::string& answer, bool opened, size_t piece) {
  ReasoningText reader({.open = "<think>", .close = "</think>", .opened = opened});
  Parts all;
  const auto add = [&all](const ReasoningText::Step& step) {
    all.reasoning += step.reasoning;
    all.text += step.text;
  };
  for (size_t at = 0; at < answer.size(); at += piece) add(reader.push(answer.substr(at, piece)));
  add(reader.finish());
  return all;
}

void expect(const std::string& answer, bool opened, const Parts& wanted) {
  for (const size_t piece : {size_t{1}, size_t{3}, std::max(answer.size(), size_t{1})}) {
    const Parts parts = divided(answer, opened, piece);
    EXPECT_EQ(parts.reasoning, wanted.reasoning) << answer << " in pieces of " << piece;
    EXPECT_EQ(parts.text, wanted.text) << answer << " in pieces of " << piece;
  }
}

TEST(ReasoningTextTest, IsWhatStandsBetweenTheTags) {
  expect("<think>\nHm.\n\nYes.\n</think>\n\nTwo.", false, {"Hm.\n\nYes.", "Two."});
  expect(" \n<think></think>Two.\n", false, {"", "Two.\n"});
  expect("Two, <think>not</think> three.", false, {"", "Two, <think>not</think> three."});
  expect("  two", false, {"", "  two"});
  expect("<thin ice", false, {"", "<thin ice"});
  // Only the first passage is reasoning.
  expect("<think>a</think>b<think>c</think>", false, {"a", "b<think>c</think>"});
}

TEST(ReasoningTextTest, ThePromptMayHaveOpenedIt) {
  expect("Hm.\n</think>\n\nTwo.", true, {"Hm.", "Two."});
  expect("</think>Two.", true, {"", "Two."});
  expect("a < b, </thin ice", true, {"a < b, </thin ice", ""});
}

TEST(ReasoningTextTest, WithoutAnEndItIsReasoning) {
  expect("<think>\nHm, and", false, {"Hm, and", ""});
  expect("Hm.\n</th", true, {"Hm.", ""});
  expect("<th", false, {"", ""});
  expect("", true, {"", ""});
  expect(" \n", false, {"", " \n"});
}

TEST(ReasoningTextTest, SaysWhereItIs) {
  ReasoningText reader({.open = "<think>", .close = "</think>", .opened = false});
  EXPECT_FALSE(reader.inside());
  reader.push("<think>");
  EXPECT_TRUE(reader.inside());
  reader.push("x</thi");
  EXPECT_TRUE(reader.inside());
  reader.push("nk>");
  EXPECT_FALSE(reader.inside());
}

}  // namespace
}  // namespace dak
