// In which form a model's chat template writes tool calls. A conversation with a call is rendered,
// and a form is the template's when reading what it wrote gives the call back.
#pragma once

#include <string>

#include "server/tools/tool_form.h"
#include "text/chat_template.h"

namespace dak {

struct ToolSupport {
  const ToolForm* form = nullptr;  // null: none that dak knows
  bool shows_tools = false;        // tools that are given appear in the prompt
  bool several = false;            // more than one call in a message
  // The template wants the arguments of calls as JSON text: objects are an error to it, or would
  // be written as Python writes them.
  bool text_arguments = false;
  std::string written;  // form null: what the template wrote for a call; empty: nothing of it
};

// Never throws.
ToolSupport probe_tools(const ChatTemplate& chat_template);

// What `tools` are told a client where `support` has no form: one line.
std::string refusal_of(const ToolSupport& support, const std::string& model);

}  // namespace dak
