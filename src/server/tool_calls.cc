#include "server/tool_calls.h"

#include <algorithm>

#include "base/error.h"
#include "base/json.h"

namespace dak {
namespace {

constexpr std::string_view kOpen = "<tool_call>";
constexpr std::string_view kClose = "</tool_call>";
constexpr std::string_view kSpaces = " \t\r\n";

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(kSpaces);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpaces) - first + 1);
}

// Bytes at the end of `text` that may become the opening tag, spaces before it included.
size_t undecided(std::string_view text) {
  size_t tag = 0;
  for (size_t length = std::min(text.size(), kOpen.size() - 1); length > 0; --length) {
    if (text.ends_with(kOpen.substr(0, length))) {
      tag = length;
      break;
    }
  }
  const size_t rest = text.size() - tag;
  const size_t last = text.substr(0, rest).find_last_not_of(kSpaces);
  return text.size() - (last == std::string_view::npos ? 0 : last + 1);
}

// The JSON values of a text: one after the other, spaces or semicolons between. Empty: it is no
// JSON.
std::vector<OrderedJson> values_of(std::string_view text) {
  std::vector<OrderedJson> values;
  while (!(text = trimmed(text)).empty()) {
    int depth = 0;
    bool in_string = false;
    size_t end = 0;
    for (; end < text.size(); ++end) {
      const char c = text[end];
      if (in_string) {
        if (c == '\\') ++end;
        if (c == '"') in_string = false;
      } else if (c == '"') {
        in_string = true;
      } else if (c == '{' || c == '[') {
        ++depth;
      } else if ((c == '}' || c == ']') && --depth <= 0) {
        break;
      }
    }
    const std::string_view one = text.substr(0, std::min(end + 1, text.size()));
    try {
      parse_json(one, "");  // its depth
    } catch (const Error&) {
      return {};
    }
    values.push_back(OrderedJson::parse(one));
    text = trimmed(text.substr(one.size()));
    if (text.starts_with(';')) text.remove_prefix(1);
  }
  return values;
}

}  // namespace

std::string_view name(ToolFormat format) {
  switch (format) {
    case ToolFormat::kNone:
      return "none";
    case ToolFormat::kHermes:
      return "hermes";
    case ToolFormat::kLlama:
      return "llama";
    case ToolFormat::kMistral:
      return "mistral";
  }
  return "unknown";
}

ToolFormat tool_format_of(const ChatTemplate& chat_template) {
  constexpr std::string_view kName = "dak_probe";
  const OrderedJson tools = OrderedJson::parse(
      R"([{"type": "function", "function": {"name": "dak_probe", "description": "d",
           "parameters": {"type": "object", "properties": {"x": {"type": "string"}}}}}])");
  ChatInput asked;
  asked.messages = OrderedJson::parse(R"([{"role": "user", "content": "u"}])");
  ChatInput called = asked;
  called.messages.push_back(OrderedJson::parse(
      R"({"role": "assistant", "content": "", "tool_calls": [{"id": "abcdefghi", "type": "function",
          "function": {"name": "dak_probe", "arguments": {"x": "y"}}}]})"));
  called.add_generation_prompt = false;
  const auto rendered = [&chat_template](const ChatInput& input) {
    try {
      return chat_template.render(input);
    } catch (const Error&) {
      return std::string();
    }
  };
  const std::string call = rendered(called);
  asked.tools = tools;
  if (rendered(asked).find(kName) == std::string::npos) return ToolFormat::kNone;
  const size_t at = call.rfind(kName);
  if (at == std::string::npos) return ToolFormat::kNone;
  const std::string before = call.substr(0, at);
  if (before.find(kOpen) != std::string::npos) return ToolFormat::kHermes;
  if (const size_t opening = before.rfind(kMistralOpening); opening != std::string::npos) {
    // Newer ones write [TOOL_CALLS]NAME[ARGS]{...}.
    const std::string_view list =
        trimmed(std::string_view(before).substr(opening + kMistralOpening.size()));
    return list.starts_with("[{") ? ToolFormat::kMistral : ToolFormat::kNone;
  }
  return call.find("\"parameters\"", at) != std::string::npos ? ToolFormat::kLlama
                                                              : ToolFormat::kNone;
}

ToolCallParser::ToolCallParser(ToolFormat format, std::vector<std::string> names)
    : format_(format), names_(std::move(names)) {}

bool ToolCallParser::add_calls(std::string_view json, Step& step) const {
  if (format_ == ToolFormat::kMistral) {
    json = trimmed(json);
    if (json.starts_with(kMistralOpening)) json.remove_prefix(kMistralOpening.size());
  }
  std::vector<OrderedJson> values = values_of(json);
  if (format_ == ToolFormat::kMistral && values.size() == 1 && values[0].is_array()) {
    values = std::vector<OrderedJson>(values[0].begin(), values[0].end());
  }
  std::vector<ToolCall> calls;
  for (const OrderedJson& value : values) {
    if (!value.is_object() || !value.contains("name") || !value["name"].is_string()) return false;
    ToolCall call{.name = value["name"].get<std::string>(), .arguments = "{}"};
    if (std::ranges::find(names_, call.name) == names_.end()) return false;
    for (const char* key : {"arguments", "parameters"}) {
      const auto found = value.find(key);
      if (found == value.end()) continue;
      call.arguments = found->is_string() ? found->get<std::string>() : found->dump();
      break;
    }
    calls.push_back(std::move(call));
  }
  std::ranges::move(calls, std::back_inserter(step.calls));
  return !calls.empty();
}

void ToolCallParser::read_outside(Step& step) {
  const size_t open = held_.find(kOpen);
  if (open != std::string::npos) {
    const std::string_view before = std::string_view(held_).substr(0, open);
    const size_t last = before.find_last_not_of(kSpaces);
    if (last != std::string_view::npos) step.text += before.substr(0, last + 1);
    held_.erase(0, open + kOpen.size());
    inside_ = true;
    return;
  }
  const size_t certain = held_.size() - undecided(held_);
  step.text += held_.substr(0, certain);
  held_.erase(0, certain);
}

// False when the closing tag has not come yet.
bool ToolCallParser::read_call(Step& step) {
  const size_t close = held_.find(kClose);
  if (close == std::string::npos) return false;
  const std::string json = held_.substr(0, close);
  held_.erase(0, close + kClose.size());
  inside_ = false;
  if (add_calls(json, step)) {
    had_calls_ = true;
  } else {
    fmt::format_to(std::back_inserter(step.text), "{}{}{}", kOpen, json, kClose);
  }
  return true;
}

ToolCallParser::Step ToolCallParser::push(std::string_view piece) {
  Step step;
  if (format_ == ToolFormat::kNone || is_text_) {
    step.text = piece;
    return step;
  }
  held_ += piece;
  if (format_ == ToolFormat::kHermes) {
    while (!inside_ || read_call(step)) {
      read_outside(step);
      if (!inside_) break;
    }
    return step;
  }
  const size_t first = held_.find_first_not_of(kSpaces);
  if (first == std::string::npos) return step;
  if (held_[first] != (format_ == ToolFormat::kLlama ? '{' : '[')) {
    is_text_ = true;
    step.text = std::move(held_);
  }
  return step;
}

ToolCallParser::Step ToolCallParser::finish() {
  Step step;
  if (format_ == ToolFormat::kHermes && !inside_) {
    // After a call spaces mean nothing.
    if (!had_calls_ || !trimmed(held_).empty()) step.text = std::move(held_);
  } else if (!held_.empty() || inside_) {
    if (!add_calls(held_, step)) step.text = (inside_ ? std::string(kOpen) : "") + held_;
  }
  held_.clear();
  return step;
}

}  // namespace dak
