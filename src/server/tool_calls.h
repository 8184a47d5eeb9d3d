// Tool calls in a model's answer: text between tags, or JSON alone, by what its template shows it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/chat_template.h"

namespace dak {

enum class ToolFormat : uint8_t {
  kNone,     // the template takes no tools, or shows calls in a form that dak does not know
  kHermes,   // <tool_call>{"name": ..., "arguments": {...}}</tool_call>, text around it
  kLlama,    // {"name": ..., "parameters": {...}}, nothing else
  kMistral,  // [{"name": ..., "arguments": {...}}, ...] after kMistralOpening, nothing else
};
// Most of Mistral's vocabularies have a special token for it, which is in no answer's text.
inline constexpr std::string_view kMistralOpening = "[TOOL_CALLS]";

std::string_view name(ToolFormat format);

// What the template does with a conversation that has a call. Never throws.
ToolFormat tool_format_of(const ChatTemplate& chat_template);

struct ToolCall {
  std::string name;
  std::string arguments;  // JSON text
};

// Divides an answer, piece by piece, into its text and its calls. What looks like a call and is
// none (broken JSON, a name that is no tool's) is text.
class ToolCallParser {
 public:
  ToolCallParser(ToolFormat format, std::vector<std::string> names);

  struct Step {
    std::string text;
    std::vector<ToolCall> calls;
  };
  Step push(std::string_view piece);
  Step finish();

 private:
  void read_outside(Step& step);
  bool read_call(Step& step);
  bool add_calls(std::string_view json, Step& step) const;

  ToolFormat format_;
  std::vector<std::string> names_;
  std::string held_;
  bool inside_ = false;   // kHermes: after the opening tag
  bool is_text_ = false;  // the others: the answer did not begin as a call
  bool had_calls_ = false;
};

}  // namespace dak
