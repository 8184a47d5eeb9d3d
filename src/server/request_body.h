// A request's JSON, with complaints as ApiError.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/json_field.h"
#include "server/api_error.h"
#include "text/chat_template.h"

namespace dak {

// Throws ApiError (400) where it is no JSON object.
Json parse_body(std::string_view body);

// The same with members in the order in which they came, which templates and schemas show. Bounded:
// finding a member takes time in proportion to their number, so objects with more than 1,000 are
// refused.
OrderedJson parse_ordered(std::string_view text);

// `parse` on the body's members; its errors become ApiError.
template <typename Result>
Result parsed_body(std::string_view body, const std::function<Result(const JsonField&)>& parse) {
  const Json json = parse_body(body);
  try {
    return parse(JsonField(json, "", ""));
  } catch (const Error& error) {
    throw api_error(error);
  }
}

}  // namespace dak
