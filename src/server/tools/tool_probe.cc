#include "server/tools/tool_probe.h"

#include <fmt/format.h>

#include "base/json.h"
#include "server/template_probe.h"
#include "server/tools/tool_parser.h"

namespace dak {
namespace {

constexpr std::string_view kProbeName = "dak_probe";
constexpr std::string_view kProbeTools =
    R"([{"type": "function", "function": {"name": "dak_probe", "description": "d", "parameters":
        {"type": "object", "properties": {"text": {"type": "string", "description": "t"},
         "count": {"type": "integer", "description": "c"}}, "required": ["text"]}}}])";
constexpr std::string_view kArguments = R"({"text": "dak_text", "count": 7})";
// Templates check ids: some want nine letters, some the tool's name and a number.
constexpr std::string_view kIds[] = {"dakprobe1", "functions.dak_probe:0"};
constexpr size_t kMostShown = 120;

struct Probe {
  std::string_view id;
  bool text_arguments = false;
  int calls = 1;
};

// What the template writes for an answer that calls: from where the answer begins.
std::string written_call(const ChatTemplate& chat_template, const Probe& probe) {
  ChatInput asked = probe_question();
  asked.tools = OrderedJson::parse(kProbeTools);
  ChatInput called = asked;
  called.add_generation_prompt = false;
  OrderedJson calls = OrderedJson::array();
  for (int i = 0; i < probe.calls; ++i) {
    OrderedJson arguments = std::string(kArguments);
    if (!probe.text_arguments) arguments = OrderedJson::parse(kArguments);
    std::string id(probe.id);
    id.back() = static_cast<char>(id.back() + i);
    calls.push_back({{"id", id},
                     {"type", "function"},
                     {"function", {{"name", std::string(kProbeName)}, {"arguments", arguments}}}});
  }
  called.messages.push_back({{"role", "assistant"}, {"content", ""}, {"tool_calls", calls}});
  const std::string all = probe_render(chat_template, called);
  for (const bool prompted : {true, false}) {
    asked.add_generation_prompt = prompted;
    const std::string before = probe_render(chat_template, asked);
    if (!before.empty() && all.starts_with(before)) return all.substr(before.size());
  }
  const size_t last = all.rfind(kProbeQuestion);
  return last == std::string::npos ? std::string() : all.substr(last + kProbeQuestion.size());
}

// Whether reading `text` in `form` gives `calls` of the probe's calls.
bool reads(const ToolForm& form, const std::string& text, int calls) {
  const bool keyed = form.style == ToolForm::Style::kObject && !form.name_key.empty();
  if (keyed && text.find(fmt::format("\"{}\"", form.arguments_key)) == std::string::npos) {
    return false;
  }
  const ToolSignatures tools(OrderedJson::parse(kProbeTools));
  ToolCallParser parser(form, tools);
  std::vector<ToolEvent> events = parser.push(text);
  for (ToolEvent& event : parser.finish(false)) events.push_back(std::move(event));
  int found = 0;
  std::string arguments;
  for (const ToolEvent& event : events) {
    if (event.kind == ToolEvent::Kind::kCall) arguments.clear();
    if (event.kind == ToolEvent::Kind::kArguments) arguments += event.text;
    if (event.kind != ToolEvent::Kind::kEnd) continue;
    // The order of members is the template's business.
    if (Json::parse(arguments, nullptr, false) != Json::parse(kArguments)) return false;
    ++found;
  }
  return found == calls;
}

const ToolForm* form_of(const std::string& text) {
  for (const ToolForm& form : tool_forms()) {
    if (reads(form, text, 1)) return &form;
  }
  return nullptr;
}

// A line's worth of what is around the name.
std::string excerpt(const std::string& text) {
  const size_t name = text.find(kProbeName);
  if (name == std::string::npos) return {};
  const size_t begin = name > kMostShown / 2 ? name - kMostShown / 2 : 0;
  return printable(text.substr(begin, kMostShown));
}

}  // namespace

ToolSupport probe_tools(const ChatTemplate& chat_template) {
  ToolSupport support;
  ChatInput asked = probe_question();
  asked.tools = OrderedJson::parse(kProbeTools);
  support.shows_tools = probe_render(chat_template, asked).find(kProbeName) != std::string::npos;
  for (const bool text_arguments : {false, true}) {
    for (const std::string_view id : kIds) {
      const Probe probe{.id = id, .text_arguments = text_arguments};
      const std::string text = written_call(chat_template, probe);
      if (support.written.empty()) support.written = excerpt(text);
      support.form = form_of(text);
      if (support.form == nullptr) continue;
      support.text_arguments = text_arguments;
      support.written.clear();
      Probe two = probe;
      two.calls = 2;
      support.several = reads(*support.form, written_call(chat_template, two), 2);
      return support;
    }
  }
  return support;
}

std::string refusal_of(const ToolSupport& support, const std::string& model) {
  if (!support.shows_tools) {
    return fmt::format("the chat template of '{}' does not show tools to the model", model);
  }
  if (support.written.empty()) {
    return fmt::format(
        "the chat template of '{}' shows tools but writes no tool calls: what a call looks like is "
        "unknown",
        model);
  }
  return fmt::format(
      "the chat template of '{}' writes tool calls in a form that dak does not read: {}", model,
      support.written);
}

}  // namespace dak
