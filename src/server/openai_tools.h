// Tools of a chat request, and whether they are to be called.
#pragma once

#include "base/json_field.h"
#include "server/openai_request.h"
#include "server/request_body.h"

namespace dak {

// tools, tool_choice and parallel_tool_calls. `exact`: the whole body.
void read_tools(const JsonField& body, ExactBody& exact, ChatRequest& request);

}  // namespace dak
