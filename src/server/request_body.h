// A request's JSON, with complaints as ApiError.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/json_field.h"
#include "server/api_error.h"
#include "text/exact_json.h"

namespace dak {

// Finding a member of ordered JSON takes time in proportion to their number: objects with more are
// refused.
inline constexpr int64_t kMostMembers = 1000;

// Throws ApiError (400) where it is no JSON object.
Json parse_body(std::string_view body);

// The same with members in the order in which they came, which templates and schemas show.
OrderedJson parse_ordered(std::string_view text);

// The same, and with numbers that keep their digits (text/exact_json.h); parsed when first wanted.
class ExactBody {
 public:
  explicit ExactBody(std::string_view text) : text_(text) {}  // outlives this
  const OrderedJson& get() {
    if (json_.is_null()) json_ = parse_exact_json(text_, kMostMembers);
    return json_;
  }

 private:
  std::string_view text_;
  OrderedJson json_;
};

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
