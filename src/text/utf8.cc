#include "text/utf8.h"

#include <cstring>

namespace dak {
namespace {

// The well-formed second byte narrows by the first (Unicode 15, table 3-7): overlong forms,
// surrogates and codes past U+10FFFF end there.
struct LeadByte {
  size_t length_bytes;  // 0: no character starts so
  uint8_t second_low;
  uint8_t second_high;
};

LeadByte classify_lead(uint8_t byte) {
  if (byte < 0xc2) return {0, 0, 0};
  if (byte < 0xe0) return {2, 0x80, 0xbf};
  if (byte == 0xe0) return {3, 0xa0, 0xbf};
  if (byte == 0xed) return {3, 0x80, 0x9f};
  if (byte < 0xf0) return {3, 0x80, 0xbf};
  if (byte == 0xf0) return {4, 0x90, 0xbf};
  if (byte < 0xf4) return {4, 0x80, 0xbf};
  if (byte == 0xf4) return {4, 0x80, 0x8f};
  return {0, 0, 0};
}

// Bytes of plain ASCII from text[at] on.
size_t ascii_run(std::string_view text, size_t at) {
  size_t i = at;
  while (i + 8 <= text.size()) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + i, 8);
    if ((word & 0x8080808080808080ULL) != 0) break;
    i += 8;
  }
  while (i < text.size() && static_cast<uint8_t>(text[i]) < 0x80) ++i;
  return i - at;
}

// The first byte that is not part of a valid character, or text.size().
size_t valid_prefix_bytes(std::string_view text) {
  size_t i = 0;
  while (true) {
    i += ascii_run(text, i);
    if (i == text.size()) return i;
    const Utf8Step step = scan_utf8(text, i);
    if (step.status != Utf8Status::kValid) return i;
    i += step.length_bytes;
  }
}

}  // namespace

Utf8Step scan_utf8(std::string_view text, size_t at) {
  const auto first = static_cast<uint8_t>(text[at]);
  if (first < 0x80) return {Utf8Status::kValid, 1};
  const LeadByte lead = classify_lead(first);
  if (lead.length_bytes == 0) return {Utf8Status::kMalformed, 1};
  for (size_t i = 1; i < lead.length_bytes; ++i) {
    if (at + i == text.size()) return {Utf8Status::kTruncated, i};
    const auto byte = static_cast<uint8_t>(text[at + i]);
    const uint8_t low = i == 1 ? lead.second_low : 0x80;
    const uint8_t high = i == 1 ? lead.second_high : 0xbf;
    if (byte < low || byte > high) return {Utf8Status::kMalformed, i};
  }
  return {Utf8Status::kValid, lead.length_bytes};
}

bool is_valid_utf8(std::string_view text) { return valid_prefix_bytes(text) == text.size(); }

std::string replace_malformed_utf8(std::string_view text) {
  std::string out;
  while (true) {
    const size_t valid = valid_prefix_bytes(text);
    out += text.substr(0, valid);
    if (valid == text.size()) return out;
    out += kReplacementCharacter;
    text.remove_prefix(valid + scan_utf8(text, valid).length_bytes);
  }
}

void append_utf8(std::string& out, char32_t code) {
  const auto put = [&out](char32_t byte) { out += static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xc0 | code >> 6);
    put(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    put(0xe0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3f));
    put(0x80 | (code & 0x3f));
  } else {
    put(0xf0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3f));
    put(0x80 | (code >> 6 & 0x3f));
    put(0x80 | (code & 0x3f));
  }
}

}  // namespace dak
