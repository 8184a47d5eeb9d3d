// Formats of strings that dak holds an answer to, as patterns. The patterns are narrower than the
// formats where those are hard to say, never wider; other formats are annotations.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace dak {

// A pattern for all of the text; nullopt for a format that is an annotation.
std::optional<std::string> pattern_of_format(std::string_view format);

}  // namespace dak
