#include "text/token_bytes.h"

#include <array>
#include <charconv>

#include "text/byte_level.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"

namespace dak {
namespace {

// Whether the vocabulary spells bytes in GPT-2's alphabet: then its space decodes to one.
bool spells_bytes(const Tokenizer& tokenizer) {
  std::string space;
  append_byte_level(space, " ");
  const auto token = tokenizer.token_id(space);
  return token && tokenizer.decode(std::array{*token}) == " ";
}

std::string from_byte_level(std::string_view spelling) {
  std::string bytes;
  for (size_t at = 0; at < spelling.size();) {
    const Utf8Char c = utf8_char_at(spelling, at);
    const auto byte = byte_level_byte(c.code);
    if (byte) {
      bytes += static_cast<char>(*byte);
    } else {
      bytes += spelling.substr(at, c.length_bytes);
    }
    at += c.length_bytes;
  }
  return bytes;
}

// SentencePiece: "<0x0A>" is a byte, U+2581 a space.
std::string from_pieces(std::string_view spelling) {
  if (spelling.size() == 6 && spelling.starts_with("<0x") && spelling.back() == '>') {
    uint8_t byte = 0;
    const auto [end, status] = std::from_chars(spelling.data() + 3, spelling.data() + 5, byte, 16);
    if (status == std::errc() && end == spelling.data() + 5) return {static_cast<char>(byte)};
  }
  constexpr std::string_view kSpace = "\xe2\x96\x81";
  std::string bytes;
  for (size_t at = 0; at < spelling.size();) {
    if (spelling.substr(at).starts_with(kSpace)) {
      bytes += ' ';
      at += kSpace.size();
    } else {
      bytes += spelling[at++];
    }
  }
  return bytes;
}

}  // namespace

std::vector<std::string> token_bytes(const Tokenizer& tokenizer) {
  const bool byte_level = spells_bytes(tokenizer);
  std::vector<std::string> all(static_cast<size_t>(tokenizer.vocabulary_size()));
  for (size_t id = 0; id < all.size(); ++id) {
    const auto token = static_cast<TokenId>(id);
    if (const AddedToken* added = tokenizer.impl().added->find(token)) {
      all[id] = added->content;
    } else if (const std::string* text = tokenizer.impl().vocabulary->text(token)) {
      all[id] = byte_level ? from_byte_level(*text) : from_pieces(*text);
    }
  }
  return all;
}

}  // namespace dak
