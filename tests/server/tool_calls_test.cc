// Tool calls in answers, however the text is cut into pieces.
#include "server/tool_calls.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "server/json_automaton.h"

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
  // Where the vocabulary has no special token for it, what opens the list is text.
  expect(ToolFormat::kMistral,
         R"( [TOOL_CALLS] [{"name": "f", "arguments": {}, "id": "abcdefghi"}])", {"", {"f {}"}});
  expect(ToolFormat::kMistral, "[TOOL_CALLS] none", {"[TOOL_CALLS] none", {}});
}

const std::filesystem::path kTexts = std::filesystem::path(DAK_SOURCE_DIR) / "tests/data/text";

// A call that transformers rendered with a template in Mistral's form, as an answer: what follows
// the opening, which the model generates too.
void expect_mistral_golden(const std::filesystem::path& folder, const std::string& name) {
  SCOPED_TRACE(name);
  std::ifstream stream(folder / "chat_template_goldens.json");
  const OrderedJson file = OrderedJson::parse(stream);
  const OrderedJson& tools = file.at("cases").at("tool_result").at("tools");
  std::string rendered = file.at("goldens").at(name).at("tool_result").at(0);
  const size_t begin = rendered.find(kMistralOpening) + kMistralOpening.size();
  std::string answer = rendered.substr(begin, rendered.find("</s>", begin) - begin);
  ToolCallParser parser(ToolFormat::kMistral, {"get_weather"});
  EXPECT_EQ(parser.push(answer).text, "");
  const ToolCallParser::Step step = parser.finish();
  EXPECT_EQ(step.text, "");
  ASSERT_EQ(step.calls.size(), 1U);
  EXPECT_EQ(OrderedJson::parse(step.calls[0].arguments),
            OrderedJson::parse(R"({"place": "Z\u00fcrich", "days": 2})"));
  // What an answer is held to is the same, but for the id, which is the server's to give.
  const size_t id = answer.find(", \"id\"");
  answer.erase(id, answer.find('}', id) - id);
  const JsonGrammar grammar = JsonGrammar::of_calls(
      tools, "get_weather", {.key = "arguments", .before = {}, .after = {}, .most = 1}, "tools");
  JsonAutomaton automaton(grammar);
  JsonAutomaton::State state = automaton.start();
  for (const char byte : answer) state = automaton.after(state, static_cast<uint8_t>(byte));
  EXPECT_TRUE(automaton.may_end(state)) << answer;
}

TEST(ToolCallsTest, MistralsGolden) { expect_mistral_golden(kTexts, "calls_listed"); }

ToolFormat format_of(const std::filesystem::path& folder, const std::string& name) {
  std::ifstream stream(folder / "templates" / (name + ".jinja"));
  std::ostringstream text;
  text << stream.rdbuf();
  EXPECT_FALSE(text.str().empty()) << name;
  return tool_format_of(ChatTemplate(text.str(), name));
}

TEST(ToolCallsTest, TheTemplateSaysTheFormat) {
  EXPECT_EQ(format_of(kTexts, "calls_tagged"), ToolFormat::kHermes);
  EXPECT_EQ(format_of(kTexts, "calls_object"), ToolFormat::kLlama);
  EXPECT_EQ(format_of(kTexts, "calls_listed"), ToolFormat::kMistral);
  // NAME[ARGS]{...}: read as a list, no call would ever be found.
  EXPECT_EQ(format_of(kTexts, "calls_named"), ToolFormat::kNone);
  EXPECT_EQ(format_of(kTexts, "turns"), ToolFormat::kNone);
  EXPECT_EQ(format_of(kTexts, "lines"), ToolFormat::kNone);
}

#ifdef DAK_CHAT_TEMPLATES
TEST(ToolCallsTest, OtherPeoplesTemplatesSayTheFormat) {
  EXPECT_EQ(format_of(DAK_CHAT_TEMPLATES, "Qwen-Qwen3-0.6B"), ToolFormat::kHermes);
  EXPECT_EQ(format_of(DAK_CHAT_TEMPLATES, "meta-llama-Llama-3.2-3B-Instruct"), ToolFormat::kLlama);
  const std::string nemo = "mistralai-Mistral-Nemo-Instruct-2407";
  EXPECT_EQ(format_of(DAK_CHAT_TEMPLATES, nemo), ToolFormat::kMistral);
  expect_mistral_golden(DAK_CHAT_TEMPLATES, nemo);
  for (const char* name :
       {"mistralai-Ministral-3-14B-Reasoning-2512", "Mistral-Small-3.2-24B-Instruct-2506",
        "SmolLM2-135M-Instruct.Q4_1", "google-gemma-2-2b-it"}) {
    EXPECT_EQ(format_of(DAK_CHAT_TEMPLATES, name), ToolFormat::kNone) << name;
  }
}
#endif

}  // namespace
}  // namespace dak
