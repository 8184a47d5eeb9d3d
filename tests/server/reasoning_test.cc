// Which tags a template's reasoning stands between, and that constraints begin behind it.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "server/reasoning/after_reasoning.h"
#include "server/reasoning/reasoning_probe.h"

namespace dak {
namespace {

std::string opening(const ChatTemplate& by) {
  const ReasoningForm* form = probe_reasoning(by);
  return form == nullptr ? "none" : std::string(form->open);
}

std::string opening(const std::filesystem::path& folder, const std::string& name) {
  std::ifstream stream(folder / (name + ".jinja"));
  std::ostringstream text;
  text << stream.rdbuf();
  EXPECT_FALSE(text.str().empty()) << name;
  return opening(ChatTemplate(text.str(), name));
}

TEST(ReasoningProbeTest, TheTemplateSaysTheTags) {
  const std::filesystem::path own = std::string(DAK_TEST_DATA) + "/text/templates";
  EXPECT_EQ(opening(own, "calls_tagged"), "<think>");
  EXPECT_EQ(opening(own, "calls_elements"), "<think>");
  EXPECT_EQ(opening(own, "turns"), "none");
  EXPECT_EQ(opening(own, "calls_listed"), "none");
  const auto written = [](const std::string& source) { return opening(ChatTemplate(source, "t")); };
  // Opened by the prompt; written for a history; cut out of a history; told of in a system text.
  EXPECT_EQ(written("{{ messages[0].content }}{% if add_generation_prompt %}[THINK]{% endif %}"),
            "[THINK]");
  EXPECT_EQ(written("{% for m in messages %}{% if m.reasoning %}<seed:think>{{ m.reasoning }}"
                    "</seed:think>{% endif %}{{ m.content }}{% endfor %}"),
            "<seed:think>");
  EXPECT_EQ(written("{% for m in messages %}{{ m.content.split('</think>')[-1] }}{% endfor %}"),
            "<think>");
  EXPECT_EQ(written("Draft in [THINK] and [/THINK]. {{ messages[0].content }}"), "[THINK]");
  EXPECT_EQ(written("{{ messages[0].content }}"), "none");
}

TEST(ReasoningProbeTest, ThePromptMayOpenIt) {
  const ReasoningForm& form = reasoning_forms()[0];
  EXPECT_TRUE(reasoning_tags(form, "assistant\n<think>\n").opened);
  EXPECT_FALSE(reasoning_tags(form, "assistant\n<think>\n\n</think>\n\n").opened);
  EXPECT_FALSE(reasoning_tags(form, "assistant\n").opened);
}

#ifdef DAK_CHAT_TEMPLATES
TEST(ReasoningProbeTest, OtherPeoplesTemplatesSayTheTags) {
  const std::filesystem::path others = std::string(DAK_CHAT_TEMPLATES) + "/templates";
  const std::map<std::string, std::vector<const char*>> kTags = {
      {"<think>",
       {"Qwen-Qwen3-0.6B", "Qwen-QwQ-32B", "Qwen3.5-4B", "GLM-4.6", "MiniMax-M2",
        "deepseek-ai-DeepSeek-R1-Distill-Llama-8B", "deepseek-ai-DeepSeek-V3.1",
        "NVIDIA-Nemotron-Nano-v2"}},
      {"[THINK]", {"mistralai-Ministral-3-14B-Reasoning-2512"}},
      {"<seed:think>", {"ByteDance-Seed-OSS"}},
      {"<|START_THINKING|>", {"CohereForAI-c4ai-command-r7b-12-2024-tool_use"}},
      {"<think:opensource>", {"tencent-Hy3"}},
      {"none",
       {"Qwen-Qwen2.5-7B-Instruct", "meta-llama-Llama-3.2-3B-Instruct", "google-gemma-2-2b-it",
        "mistralai-Mistral-Nemo-Instruct-2407"}},
  };
  for (const auto& [tag, files] : kTags) {
    for (const char* file : files) EXPECT_EQ(opening(others, file), tag) << file;
  }
}
#endif

// One letter a token, and one that closes the reasoning and goes on.
class AfterReasoningTest : public ::testing::Test {
 protected:
  static std::vector<std::string> letters() {
    std::vector<std::string> texts;
    for (int c = 0; c < 128; ++c) texts.emplace_back(1, static_cast<char>(c));
    texts.emplace_back("</think>{");
    texts.emplace_back("</think>\n\n");
    return texts;
  }
  static constexpr TokenId kCloseAndGo = 128;
  static constexpr TokenId kCloseLines = 129;
  static constexpr TokenId kEnd = 130;

  AfterReasoningTest() : texts_(letters(), std::vector<bool>(130), {kEnd}) {}

  AfterReasoning constraint(bool opened) {
    auto grammar = std::make_shared<const JsonGrammar>(
        JsonGrammar::of_schema(OrderedJson::parse(R"({"enum": ["<a", 7]})"), "f"));
    return AfterReasoning(
        {.open = "<think>", .close = "</think>", .opened = opened}, texts_,
        [this, grammar] { return std::make_shared<JsonConstraint>(grammar, texts_); });
  }

  static bool allowed(TokenConstraint& constraint, TokenId token) {
    std::vector<uint64_t> bits(3);
    constraint.allow(bits);
    return (bits[static_cast<size_t>(token) / 64] >> (token % 64) & 1) != 0;
  }
  // How much of `text` it allows, letter by letter.
  static std::string followed(TokenConstraint& constraint, std::string_view text) {
    std::string out;
    for (const char c : text) {
      if (!allowed(constraint, c)) break;
      constraint.accept(c);
      out += c;
    }
    return out;
  }

  TokenTexts texts_;
};

TEST_F(AfterReasoningTest, TheAnswerIsHeldBehindIt) {
  AfterReasoning held = constraint(false);
  EXPECT_EQ(followed(held, "<think>Any {thing} </th> at all</think>\n7"),
            "<think>Any {thing} </th> at all</think>\n7");
  EXPECT_TRUE(allowed(held, kEnd));
  AfterReasoning wrong = constraint(false);
  EXPECT_EQ(followed(wrong, "<think>x</think>8"), "<think>x</think>");
  AfterReasoning empty = constraint(true);
  EXPECT_EQ(followed(empty, "</think>7"), "</think>7");
}

TEST_F(AfterReasoningTest, ReasoningMayBeLeftOut) {
  AfterReasoning held = constraint(false);
  EXPECT_EQ(followed(held, "\"<a\""), "\"<a\"");
  AfterReasoning wrong = constraint(false);
  EXPECT_EQ(followed(wrong, "Hello"), "");
  AfterReasoning other = constraint(false);
  EXPECT_EQ(followed(other, "<thing"), "<thin");
}

TEST_F(AfterReasoningTest, TheAnswerDoesNotEndInIt) {
  AfterReasoning held = constraint(true);
  EXPECT_EQ(followed(held, "so"), "so");
  EXPECT_FALSE(allowed(held, kEnd));
  // A token may close it with spaces, not with a part of the answer.
  EXPECT_FALSE(allowed(held, kCloseAndGo));
  EXPECT_TRUE(allowed(held, kCloseLines));
  held.accept(kCloseLines);
  EXPECT_FALSE(allowed(held, '\n'));
  EXPECT_EQ(followed(held, "7"), "7");
}

}  // namespace
}  // namespace dak
