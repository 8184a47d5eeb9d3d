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

struct CodePair {
  char32_t from = 0;
  char32_t to = 0;
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

// Characters for which `tokenizers` says the opposite of the category: its tables of numbers are
// newer (Unicode 17), those of punctuation and of combining marks older (Unicode 8 and 9).
// Ascending.
std::span<const CodeRange> numeric_exceptions();
std::span<const CodeRange> punctuation_exceptions();
std::span<const CodeRange> mark_exceptions();

// Lower cases that are newer than utf8proc's. Ascending.
std::span<const CodePair> later_lowercase();

}  // namespace dak
