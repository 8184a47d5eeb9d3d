#include "text/byte_level.h"

#include <array>

#include "text/utf8.h"

namespace dak {
namespace {

bool is_printable_latin1(int byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xff && byte != 0xad);
}

// Printable Latin-1 characters stand for themselves; the others, in order, for U+0100 and on.
struct Alphabet {
  std::array<char32_t, 256> char_of_byte{};
  std::array<int16_t, 0x180> byte_of_char{};
  std::array<std::string, 256> utf8_of_byte{};

  Alphabet() {
    byte_of_char.fill(-1);
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const char32_t code = is_printable_latin1(byte) ? static_cast<char32_t>(byte) : next++;
      char_of_byte[static_cast<size_t>(byte)] = code;
      byte_of_char[code] = static_cast<int16_t>(byte);
      append_utf8(utf8_of_byte[static_cast<size_t>(byte)], code);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet instance;
  return instance;
}

}  // namespace

char32_t byte_level_char(uint8_t byte) { return alphabet().char_of_byte[byte]; }

std::optional<uint8_t> byte_level_byte(char32_t code) {
  const Alphabet& a = alphabet();
  if (code >= a.byte_of_char.size() || a.byte_of_char[code] < 0) return std::nullopt;
  return static_cast<uint8_t>(a.byte_of_char[code]);
}

void append_byte_level(std::string& out, std::string_view bytes) {
  const Alphabet& a = alphabet();
  for (const char c : bytes) out += a.utf8_of_byte[static_cast<uint8_t>(c)];
}

}  // namespace dak
