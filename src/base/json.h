// JSON text from outside, parsed into nlohmann::json with errors that name the file and the field.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace dak {

using Json = nlohmann::json;

// Throws kCorrupt with `where` and the byte offset. Nesting deeper than 512 is refused.
Json parse_json(std::string_view text, std::string_view where);

// What Python's json module writes and reads, as files of models are: NaN, Infinity and -Infinity
// are numbers, also in transformers' spelling {"__float__": "NaN"}, and a number beyond a double's
// range is infinite. The last of two equal keys counts, as in Python.
Json parse_python_json(std::string_view text, std::string_view where);

// Of a value, for an error: strings bare, NaN and infinities as Python writes them.
std::string json_text(const Json& value);

}  // namespace dak
