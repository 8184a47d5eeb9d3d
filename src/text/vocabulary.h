// Token texts and their ids, both ways.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/tokenizer.h"

namespace dak {

// No model comes near; a larger id in a file would only make dak allocate for it.
inline constexpr TokenId kMaxTokenId = (1 << 22) - 1;

class Vocabulary {
 public:
  // Later texts of an id already used, and later ids of a text already used, lose.
  // Ids must be within 0..kMaxTokenId.
  explicit Vocabulary(std::vector<std::pair<std::string, TokenId>>&& tokens);

  std::optional<TokenId> find(std::string_view text) const;
  const std::string* text(TokenId token) const;                 // nullptr: no such token
  int size() const { return static_cast<int>(texts_.size()); }  // largest id + 1
  size_t longest_bytes() const { return longest_bytes_; }

  // The id of each one-character text below U+0180, and of each byte's "<0xHH>"; -1 without one.
  TokenId find_char(std::string_view utf8_char) const;
  TokenId byte_token(uint8_t byte) const { return byte_tokens_[byte]; }

 private:
  std::vector<std::string> texts_;  // by id
  std::vector<bool> present_;
  std::unordered_map<std::string_view, TokenId> ids_;  // views into texts_
  std::vector<TokenId> low_char_tokens_;
  std::vector<TokenId> byte_tokens_;
  size_t longest_bytes_ = 0;
};

}  // namespace dak
