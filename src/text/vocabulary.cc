#include "text/vocabulary.h"

#include <fmt/core.h>

#include <algorithm>

#include "text/utf8.h"

namespace dak {
namespace {

constexpr char32_t kLowChars = 0x180;  // holds GPT-2's byte alphabet

}  // namespace

Vocabulary::Vocabulary(std::vector<std::pair<std::string, TokenId>>&& tokens) {
  TokenId largest = -1;
  for (const auto& [text, id] : tokens) largest = std::max(largest, id);
  texts_.resize(static_cast<size_t>(largest) + 1);
  present_.resize(texts_.size());
  ids_.reserve(tokens.size());
  for (auto& [text, id] : tokens) {
    const auto index = static_cast<size_t>(id);
    if (present_[index]) continue;
    present_[index] = true;
    texts_[index] = std::move(text);
    longest_bytes_ = std::max(longest_bytes_, texts_[index].size());
    ids_.try_emplace(texts_[index], id);
  }
  for (char32_t code = 0; code < kLowChars; ++code) {
    std::string text;
    append_utf8(text, code);
    low_char_tokens_.push_back(find(text).value_or(-1));
  }
  for (int byte = 0; byte < 256; ++byte) {
    byte_tokens_.push_back(find(fmt::format("<0x{:02X}>", byte)).value_or(-1));
  }
}

std::optional<TokenId> Vocabulary::find(std::string_view text) const {
  const auto found = ids_.find(text);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

const std::string* Vocabulary::text(TokenId token) const {
  const auto index = static_cast<size_t>(token);
  if (token < 0 || index >= texts_.size() || !present_[index]) return nullptr;
  return &texts_[index];
}

TokenId Vocabulary::find_char(std::string_view utf8_char) const {
  const char32_t code = utf8_char_at(utf8_char, 0).code;
  if (code < kLowChars) return low_char_tokens_[code];
  return find(utf8_char).value_or(-1);
}

}  // namespace dak
