// JSON written by hand, where one is written for every token.
#pragma once

#include <string>
#include <string_view>

namespace dak {

// `text`, valid UTF-8, as a JSON string with its quotes; appends.
void append_json_string(std::string& out, std::string_view text);
std::string json_string(std::string_view text);

}  // namespace dak
