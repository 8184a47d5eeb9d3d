// Strings as Python sees them: UTF-8 bytes whose unit is the code point. A byte that is not valid
// UTF-8 counts as one code point and is passed through.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dak::jinja {

struct CodePoint {
  uint32_t value;  // U+FFFD for an invalid byte
  size_t bytes;    // length in the source: 1 to 4
};

// `at` < text.size().
CodePoint decode_at(std::string_view text, size_t at);
void append_utf8(std::string& out, uint32_t code);  // surrogates and beyond-Unicode: U+FFFD
size_t count_code_points(std::string_view text);
bool is_ascii(std::string_view text);
// Byte offsets of the code points, and text.size() as the last entry.
std::vector<size_t> code_point_offsets(std::string_view text);

bool is_space(uint32_t code);  // str.isspace
bool is_printable(uint32_t code);
bool is_alpha(uint32_t code);
bool is_decimal(uint32_t code);
bool is_digit(uint32_t code);
bool is_numeric(uint32_t code);
bool is_upper(uint32_t code);
bool is_lower(uint32_t code);

std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
std::string capitalize(std::string_view text);   // first code point upper, the others lower
std::string title_words(std::string_view text);  // str.title: words are runs of letters

enum class Side { kBoth, kLeft, kRight };
std::string_view strip_space(std::string_view text, Side side = Side::kBoth);
// Strips any code point of `chars`.
std::string_view strip_chars(std::string_view text, std::string_view chars, Side side);

// str.splitlines: \n, \r\n, \r, \v, \f, \x1c-\x1e, U+0085, U+2028, U+2029.
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);

// As many replacements as `limit` says; negative: all. An empty `from` matches between code points.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to,
                        int64_t limit);
// How many replacements that would be (to check the size of the result before making it).
size_t count_matches(std::string_view text, std::string_view what);

}  // namespace dak::jinja
