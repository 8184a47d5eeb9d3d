// UTF-8, byte by byte: reading it, writing it, and mending what is malformed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace dak {

enum class Utf8Status {
  kValid,      // one character
  kMalformed,  // bytes that no continuation can mend
  kTruncated,  // the text ends inside what may become a character
};

struct Utf8Step {
  Utf8Status status = Utf8Status::kValid;
  size_t length_bytes = 1;  // of the character, or of the maximal subpart to replace (Unicode 3.9)
};

// What lies at text[at]; at < text.size().
Utf8Step scan_utf8(std::string_view text, size_t at);

bool is_valid_utf8(std::string_view text);

// Each maximal malformed subpart becomes U+FFFD, as Python's bytes.decode("utf-8", "replace") and
// Rust's String::from_utf8_lossy do.
std::string replace_malformed_utf8(std::string_view text);

struct Utf8Char {
  char32_t code = 0;
  size_t length_bytes = 1;
};

// The character at text[at] and the one that ends before text[end]; `text` must be valid.
inline Utf8Char utf8_char_at(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<char32_t>(static_cast<uint8_t>(text[i])); };
  const char32_t first = byte(at);
  if (first < 0x80) return {first, 1};
  if (first < 0xe0) return {(first & 0x1f) << 6 | (byte(at + 1) & 0x3f), 2};
  if (first < 0xf0) {
    return {(first & 0x0f) << 12 | (byte(at + 1) & 0x3f) << 6 | (byte(at + 2) & 0x3f), 3};
  }
  return {(first & 0x07) << 18 | (byte(at + 1) & 0x3f) << 12 | (byte(at + 2) & 0x3f) << 6 |
              (byte(at + 3) & 0x3f),
          4};
}

inline Utf8Char utf8_char_before(std::string_view text, size_t end) {
  size_t at = end - 1;
  while (at > 0 && (static_cast<uint8_t>(text[at]) & 0xc0) == 0x80) --at;
  return utf8_char_at(text, at);
}

void append_utf8(std::string& out, char32_t code);

inline constexpr std::string_view kReplacementCharacter = "\xef\xbf\xbd";

}  // namespace dak
