// Where the Unicode versions inside `tokenizers` differ from those of utf8proc and PCRE2. Data in
// unicode_tables.cc, made by reference/unicode_tables.py.
#pragma once

#include <span>
#include <string_view>

namespace dak {

struct CodeRange {
  char32_t first = 0;
  char32_t last = 0;  // inclusive
};

struct CategoryRange {
  char32_t first = 0;
  char32_t last = 0;
  std::string_view category;  // "Lu"
};

// Characters that `tokenizers` (Unicode 9 in its normalisation) leaves as they are: none composes,
// decomposes or moves there. Ascending.
std::span<const CodeRange> normalization_barriers();

// General categories of characters that are newer than Unicode 14 (PCRE2 10.42). Ascending.
std::span<const CategoryRange> later_categories();

}  // namespace dak
