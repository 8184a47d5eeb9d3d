// JSON text from outside, parsed into nlohmann::json with errors that name the file and the field.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace dak {

using Json = nlohmann::json;

// Throws kCorrupt with `where` and the byte offset. Nesting deeper than 512 is refused.
Json parse_json(std::string_view text, std::string_view where);

}  // namespace dak
