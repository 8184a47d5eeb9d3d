// What an answer that must call tools is held to: the form's tags around names, and arguments by
// the tools' schemas.
#pragma once

#include <string_view>

#include "server/json_schema.h"
#include "server/tools/special_marks.h"
#include "server/tools/tool_form.h"

namespace dak {

struct WantedCalls {
  std::string_view name = {};  // of the one tool that may be called; empty: any
  bool several = false;        // more than one call
};

// Throws ApiError (400) naming `tools` and the part of a schema that it cannot express. Strings
// that stand between tags are free, whatever else their schemas say.
JsonGrammar grammar_of_calls(const ToolForm& form, const OrderedJson& tools,
                             const WantedCalls& wanted, const SpecialMarks& marks);

}  // namespace dak
