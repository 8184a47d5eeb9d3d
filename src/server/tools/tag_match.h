// Tags of a form in a text that may not be whole yet.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

namespace dak {

inline constexpr std::string_view kToolSpaces = " \t\r\n";
inline bool is_tool_space(char c) { return kToolSpaces.find(c) != std::string_view::npos; }

inline std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(kToolSpaces);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kToolSpaces) - first + 1);
}

struct TagMatch {
  enum class Kind : uint8_t {
    kNo,
    kPartly,  // the text ends before the tag does
    kYes,
  };
  Kind kind = Kind::kNo;
  size_t length = 0;  // kYes
};

// Whether `text` begins with `tag`, in which a space is any white space, or none.
inline TagMatch match_tag(std::string_view tag, std::string_view text) {
  if (tag.empty()) return {};
  size_t at = 0;
  for (const char c : tag) {
    if (c == ' ') {
      while (at < text.size() && is_tool_space(text[at])) ++at;
      continue;
    }
    if (at == text.size()) return {.kind = TagMatch::Kind::kPartly};
    if (text[at] != c) return {};
    ++at;
  }
  return {.kind = TagMatch::Kind::kYes, .length = at};
}

struct TagFound {
  TagMatch match;  // kPartly: from `at` to the end of the text
  size_t at = std::string_view::npos;
};

// Where `tag` first is, or may be when more text comes.
inline TagFound find_tag(std::string_view tag, std::string_view text, size_t from = 0) {
  if (tag.empty()) return {};
  const char first = tag[tag.find_first_not_of(' ')];
  for (size_t at = text.find(first, from); at != std::string_view::npos;
       at = text.find(first, at + 1)) {
    const TagMatch match = match_tag(tag, text.substr(at));
    if (match.kind != TagMatch::Kind::kNo) return {.match = match, .at = at};
  }
  return {};
}

}  // namespace dak
