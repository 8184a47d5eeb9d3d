#include "server/request_body.h"

namespace dak {

Json parse_body(std::string_view body) {
  try {
    Json json = parse_json(body, "");
    if (!json.is_object()) throw ApiError(400, "the body must be a JSON object");
    return json;
  } catch (const Error& error) {
    const ErrorInfo& info = error.info();
    throw ApiError(400, fmt::format("the body {}{}", info.problem,
                                    info.field.empty() ? "" : fmt::format(" ({})", info.field)));
  }
}

OrderedJson parse_ordered(std::string_view text) {
  std::vector<int64_t> members;  // of the objects that are open
  const auto count = [&members](int, OrderedJson::parse_event_t event, const OrderedJson&) {
    if (event == OrderedJson::parse_event_t::object_start) members.push_back(0);
    if (event == OrderedJson::parse_event_t::object_end) members.pop_back();
    if (event == OrderedJson::parse_event_t::key && ++members.back() > kMostMembers) {
      throw ApiError(400, fmt::format("an object has more than {} members", kMostMembers));
    }
    return true;
  };
  return OrderedJson::parse(text, count);
}

}  // namespace dak
