// Tool calls in answers, however the text is cut into pieces.
#include "server/tool_calls.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

namespace dak {
namespace {

struct Parsed {
  std::string text;
  std::vector<std::string> calls;  // "name arguments"
  bool operator==(const Parsed&) const = default;
};

Parsed parse(ToolFormat format, const std::string& answer, size_t piece) {
  ToolCallParser parser(format, {"f", "g"});
  Parsed parsed;
  const auto add = [&parsed](const ToolCallParser::Step& step) {
    parsed.text += step.text;
    for (const ToolCall& call : step.calls)
      parsed.calls.push_back(call.name + " " + call.arguments);
  };
  for (size_t at = 0; at < answer.size(); at += piece) add(parser.push(answer.substr(at, piece)));
  add(parser.finish());
  return parsed;
}

void expect(ToolFormat format, const std::string& answer, const Parsed& wanted) {
  for (const size_t piece : {size_t{1}, size_t{3}, size_t{7}, answer.size()}) {
    const Parsed parsed = parse(format, answer, piece);
    EXPECT_EQ(parsed.text, wanted.text) << answer << " in pieces of " << piece;
    EXPECT_EQ(parsed.calls, wanted.calls) << answer << " in pieces of " << piece;
  }
}

TEST(ToolCallsTest, Hermes) {
  const auto hermes = ToolFormat::kHermes;
  const std::string call = R"(<tool_call>
{"name": "f", "arguments": {"b": 1, "a": "</x>"}}
</tool_call>)";
  const std::string f = R"(f {"b":1,"a":"</x>"})";
  expect(hermes, call, {"", {f}});
  expect(hermes, "I look.\n" + call + "\n" + call + "\n", {"I look.", {f, f}});
  expect(hermes, call + " Done.", {" Done.", {f}});
  expect(hermes, "a < b <tool", {"a < b <tool", {}});
  expect(hermes, "just text \n", {"just text \n", {}});
  expect(hermes, R"(<tool_call>{"name": "f"}</tool_call>)", {"", {"f {}"}});
  // The model stopped before the closing tag.
  expect(hermes, R"(<tool_call>{"name": "g", "arguments": {}})", {"", {"g {}"}});
}

TEST(ToolCallsTest, WhatIsNoCallIsText) {
  for (const std::string& answer :
       {std::string("<tool_call>{\"name\": \"f\", </tool_call>"),
        std::string("<tool_call>{\"name\": \"unknown\"}</tool_call>"),
        std::string("<tool_call>[1]</tool_call>"), std::string("<tool_call>{\"na")}) {
    expect(ToolFormat::kHermes, answer, {answer, {}});
  }
  expect(ToolFormat::kLlama, R"({"weather": "fine"})", {R"({"weather": "fine"})", {}});
  expect(ToolFormat::kLlama, R"({"name": "unknown", "parameters": {}})",
         {R"({"name": "unknown", "parameters": {}})", {}});
  expect(ToolFormat::kMistral, "[1, 2]", {"[1, 2]", {}});
  expect(ToolFormat::kLlama, "{ not json", {"{ not json", {}});
}

TEST(ToolCallsTest, Llama) {
  const auto llama = ToolFormat::kLlama;
  expect(llama, R"( {"name": "f", "parameters": {"x": [1, {"y": 2}]}})",
         {"", {R"(f {"x":[1,{"y":2}]})"}});
  expect(llama, R"({"name": "f", "parameters": {}}; {"name": "g", "parameters": {"a": "}"}})",
         {"", {"f {}", R"(g {"a":"}"})"}});
  expect(llama, "Hello {\"name\": \"f\"}", {"Hello {\"name\": \"f\"}", {}});
}

TEST(ToolCallsTest, Mistral) {
  expect(ToolFormat::kMistral,
         R"([{"name": "f", "arguments": {"x": 1}}, {"name": "g", "arguments": {}}])",
         {"", {R"(f {"x":1})", "g {}"}});
}

ToolFormat format_of(const std::string& file) {
  std::ifstream stream(std::string(DAK_SOURCE_DIR) + "/tests/fuzz/corpus/jinja/" + file);
  std::ostringstream text;
  text << stream.rdbuf();
  EXPECT_FALSE(text.str().empty()) << file;
  return tool_format_of(ChatTemplate(text.str(), file));
}

TEST(ToolCallsTest, TheTemplateSaysTheFormat) {
  EXPECT_EQ(format_of("Qwen-Qwen3-0.6B.jinja"), ToolFormat::kHermes);
  EXPECT_EQ(format_of("meta-llama-Llama-3.2-3B-Instruct.jinja"), ToolFormat::kLlama);
  EXPECT_EQ(format_of("mistral-7b-v0.3-tools.jinja"), ToolFormat::kMistral);
  EXPECT_EQ(format_of("HuggingFaceTB-SmolLM2-135M-Instruct.jinja"), ToolFormat::kNone);
  EXPECT_EQ(format_of("zephyr.jinja"), ToolFormat::kNone);
}

}  // namespace
}  // namespace dak
