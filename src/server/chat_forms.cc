#include "server/chat_forms.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "text/exact_json.h"

namespace dak {
namespace {

// Variables with which templates turn reasoning on and off.
constexpr std::string_view kSwitches[] = {"enable_thinking", "thinking"};
// Members of a message in which templates look for its reasoning.
constexpr const char* kReasoningMembers[] = {"reasoning_content", "reasoning", "thinking"};

std::vector<std::string> marks_of(const ToolForm* tools,
                                  std::initializer_list<const ReasoningForm*> reasoning) {
  std::vector<std::string> texts;
  if (tools != nullptr) {
    for (const std::string_view text :
         {tools->begin, tools->open, tools->close, tools->between, tools->end, tools->after_name,
          tools->id_before, tools->id_after, tools->parameter, tools->after_key,
          tools->parameter_end}) {
      texts.emplace_back(text);
    }
  }
  for (const ReasoningForm* form : reasoning) {
    if (form == nullptr) continue;
    texts.emplace_back(form->open);
    texts.emplace_back(form->close);
  }
  return texts;
}

void name_reasoning(const ChatTemplate& by, OrderedJson& message) {
  const auto reasoning = message.find(kReasoningMembers[0]);
  if (reasoning == message.end()) return;
  for (const char* member : kReasoningMembers) {
    if (!by.mentions(member)) continue;
    OrderedJson text = *reasoning;
    message.erase(kReasoningMembers[0]);
    message[member] = std::move(text);
    return;
  }
}

void write_arguments(OrderedJson& message) {
  const auto calls = message.find("tool_calls");
  if (calls == message.end()) return;
  for (OrderedJson& call : *calls) {
    OrderedJson& arguments = call.at("function").at("arguments");
    if (!arguments.is_string()) arguments = exact_json_text(arguments);
  }
}

}  // namespace

ChatForms::ChatForms(const Engine& engine, std::string model)
    : engine_(engine), model_(std::move(model)) {
  const ChatTemplate* plain = engine.chat_template();
  const ChatTemplate* with_tools = engine.tool_template();
  if (plain != nullptr) reasoning_ = tool_reasoning_ = probe_reasoning(*plain);
  if (with_tools != nullptr) tools_ = probe_tools(*with_tools);
  if (with_tools != plain) tool_reasoning_ = probe_reasoning(*with_tools);
  marks_ = SpecialMarks(engine.tokenizer(), marks_of(tools_.form, {reasoning_, tool_reasoning_}));
}

void ChatForms::check_tools() const {
  if (tools_.form != nullptr && tools_.shows_tools) return;
  throw ApiError(400, refusal_of(tools_, model_), "tools", "unsupported");
}

// A template with nothing but a switch thinks for every effort but none.
void ChatForms::add_effort(const ChatRequest& request, const ChatTemplate& by,
                           ChatInput& input) const {
  const std::string& effort = request.reasoning_effort;
  if (effort.empty()) return;
  bool read = false;
  const auto set = [&](std::string_view variable, OrderedJson value) {
    if (!by.reads(variable)) return;
    read = true;
    const std::string key(variable);
    if (!input.extra.contains(key)) input.extra[key] = std::move(value);
  };
  set("reasoning_effort", effort);
  for (const std::string_view variable : kSwitches) set(variable, effort != "none");
  const bool reasons = reasoning(!request.input.tools.is_null()) != nullptr;
  if (read || (effort == "none" && !reasons)) return;
  throw ApiError(400,
                 fmt::format("the chat template of '{}' has no variable for it (reasoning_effort, "
                             "enable_thinking, thinking): omit it",
                             model_),
                 "reasoning_effort", "unsupported");
}

void ChatForms::check_extra(const ChatTemplate& by, const ChatInput& input) const {
  for (const auto& [key, value] : input.extra.items()) {
    if (by.reads(key)) continue;
    throw ApiError(400,
                   fmt::format("the chat template of '{}' has no variable '{}': it would change "
                               "nothing; omit it",
                               model_, printable(key)),
                   "chat_template_kwargs." + printable(key), "unsupported");
  }
}

ChatInput ChatForms::input(const ChatRequest& request) const {
  const bool with_tools = !request.input.tools.is_null();
  const ChatTemplate* by = with_tools ? engine_.tool_template() : engine_.chat_template();
  ChatInput input = request.input;
  if (by == nullptr || by->fault() != nullptr) return input;  // what renders it says so
  if (with_tools) check_tools();
  add_effort(request, *by, input);
  check_extra(*by, input);
  for (OrderedJson& message : input.messages) {
    name_reasoning(*by, message);
    if (tools_.text_arguments) write_arguments(message);
  }
  return input;
}

}  // namespace dak
