#include "server/reasoning/reasoning_probe.h"

#include "server/template_probe.h"

namespace dak {
namespace {

constexpr ReasoningForm kReasoningForms[] = {
    {.open = "<think>", .close = "</think>"},  // Qwen3, QwQ, R1 and its distillations, GLM, MiniMax
    {.open = "[THINK]", .close = "[/THINK]"},  // Magistral, Ministral 3
    {.open = "<seed:think>", .close = "</seed:think>"},
    {.open = "<think:opensource>", .close = "</think:opensource>"},
    {.open = "<|START_THINKING|>", .close = "<|END_THINKING|>"},  // Command R7B, A
    {.open = "<|channel>thought", .close = "<channel|>"},         // Gemma 4
    {.open = "<|inner_prefix|>", .close = "<|inner_suffix|>"},    // Apertus
};

constexpr std::string_view kThought = "dak_thought";
constexpr std::string_view kAnswer = "dak_answer";

ChatInput asked(OrderedJson extra) {
  ChatInput input = probe_question();
  input.extra = std::move(extra);
  return input;
}

std::string trimmed_end(std::string_view text) {
  return std::string(text.substr(0, text.find_last_not_of(" \t\r\n") + 1));
}

// What an answer begins with is one of the tags: the model is to think, or not to.
bool prompts(const ChatTemplate& chat_template, const ReasoningForm& form) {
  for (const OrderedJson& extra :
       {OrderedJson::object(), OrderedJson{{"enable_thinking", true}, {"thinking", true}},
        OrderedJson{{"enable_thinking", false}, {"thinking", false}}}) {
    const std::string prompt = trimmed_end(probe_render(chat_template, asked(extra)));
    if (prompt.ends_with(form.open) || prompt.ends_with(form.close)) return true;
  }
  return false;
}

// Reasoning of a history stands between the tags.
bool writes(const ChatTemplate& chat_template, const ReasoningForm& form) {
  for (const char* member : {"reasoning_content", "reasoning", "thinking"}) {
    ChatInput input = asked(OrderedJson::object());
    input.messages.push_back({{"role", "assistant"},
                              {"content", std::string(kAnswer)},
                              {member, std::string(kThought)}});
    input.add_generation_prompt = false;
    const std::string text = probe_render(chat_template, input);
    const size_t thought = text.find(kThought);
    if (thought == std::string::npos) continue;
    if (trimmed_end(std::string_view(text).substr(0, thought)).ends_with(form.open)) return true;
  }
  return false;
}

// Reasoning in an answer of a history is left out, or taken for what it is.
bool strips(const ChatTemplate& chat_template, const ReasoningForm& form) {
  ChatInput input = asked(OrderedJson::object());
  const std::string content = std::string(form.open) + "\n" + std::string(kThought) + "\n" +
                              std::string(form.close) + "\n\n" + std::string(kAnswer);
  input.messages.push_back({{"role", "assistant"}, {"content", content}});
  input.messages.push_back({{"role", "user"}, {"content", "u"}});
  const std::string text = probe_render(chat_template, input);
  return text.find(kAnswer) != std::string::npos && text.find(kThought) == std::string::npos;
}

// The system prompt tells the model of them.
bool tells(const ChatTemplate& chat_template, const ReasoningForm& form) {
  const std::string text = probe_render(chat_template, asked(OrderedJson::object()));
  return text.find(form.open) != std::string::npos && text.find(form.close) != std::string::npos;
}

}  // namespace

std::span<const ReasoningForm> reasoning_forms() { return kReasoningForms; }

const ReasoningForm* probe_reasoning(const ChatTemplate& chat_template) {
  for (const auto shows : {prompts, writes, strips, tells}) {
    for (const ReasoningForm& form : kReasoningForms) {
      if (shows(chat_template, form)) return &form;
    }
  }
  return nullptr;
}

ReasoningTags reasoning_tags(const ReasoningForm& form, std::string_view prompt) {
  return {.open = std::string(form.open),
          .close = std::string(form.close),
          .opened = trimmed_end(prompt).ends_with(form.open)};
}

}  // namespace dak
