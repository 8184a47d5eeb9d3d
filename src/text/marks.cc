#include "text/marks.h"

#include <charconv>

#include "text/utf8.h"

namespace dak {
namespace {

constexpr size_t kMarkBytes = 3;
constexpr size_t kEscapeBytes = 6;

struct Found {
  char32_t code = 0;
  size_t length_bytes = 0;  // 0: neither a character of three bytes nor an escape
};

Found character_at(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[at + i]); };
  if (text.size() - at >= kMarkBytes && (byte(0) & 0xf0) == 0xe0 && (byte(1) & 0xc0) == 0x80 &&
      (byte(2) & 0xc0) == 0x80) {
    return {utf8_char_at(text, at).code, kMarkBytes};
  }
  if (text.size() - at < kEscapeBytes || !text.substr(at).starts_with("\\u")) return {};
  uint32_t code = 0;
  const char* digits = text.data() + at + 2;
  const char* end = text.data() + at + kEscapeBytes;
  return std::from_chars(digits, end, code, 16).ptr == end ? Found{code, kEscapeBytes} : Found{};
}

}  // namespace

std::string with_marks(std::string_view text, std::span<const Mark> marks, const MarkBlock& block) {
  std::string out;
  size_t from = 0;
  for (const Mark& mark : marks) {
    out += text.substr(from, mark.place - from);
    append_utf8(out, block.first + mark.kind);
    from = mark.place;
  }
  return out.append(text.substr(from));
}

MarkedText without_marks(std::string_view text, const MarkBlock& block) {
  MarkedText out;
  out.text.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Found found = character_at(text, at);
    if (found.length_bytes == 0 || found.code < block.first ||
        found.code >= block.first + block.count) {
      out.text += text[at++];
      continue;
    }
    out.marks.push_back(
        {.place = out.text.size(), .kind = static_cast<uint32_t>(found.code - block.first)});
    at += found.length_bytes;
  }
  return out;
}

std::optional<MarkBlock> absent_block(std::string_view text, std::span<const MarkBlock> blocks) {
  for (const MarkBlock& block : blocks) {
    if (without_marks(text, block).marks.empty()) return block;
  }
  return std::nullopt;
}

}  // namespace dak
