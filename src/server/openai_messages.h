// Messages and tools of a chat, as its template wants them.
#pragma once

#include "base/json_field.h"
#include "server/openai_request.h"

namespace dak {

// Contents of several text parts become one text, arguments of tool calls become objects.
OrderedJson messages_of(const JsonField& messages, int64_t most);

// tools, tool_choice and parallel_tool_calls. `ordered`: the whole body, if it has tools.
void read_tools(const JsonField& body, const OrderedJson& ordered, ChatRequest& request);

}  // namespace dak
