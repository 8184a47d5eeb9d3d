// Messages of a chat, as its template wants them.
#pragma once

#include "base/json_field.h"
#include "server/openai_request.h"
#include "server/request_body.h"

namespace dak {

// What histories bring back is taken: contents of several parts become one text, arguments of tool
// calls become objects whose numbers keep their digits, and marks of other servers are left out.
// `exact`: the whole body that `messages` is in.
OrderedJson messages_of(const JsonField& messages, ExactBody& exact, int64_t most);

}  // namespace dak
