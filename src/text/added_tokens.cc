#include "text/added_tokens.h"

#include <algorithm>

#include "text/unicode.h"
#include "text/utf8.h"

namespace dak {
namespace {

size_t white_space_before(std::string_view text, size_t end, size_t limit) {
  while (end > limit) {
    const Utf8Char c = utf8_char_before(text, end);
    if (!is_white_space(c.code)) break;
    end -= c.length_bytes;
  }
  return end;
}

size_t white_space_after(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    const Utf8Char c = utf8_char_at(text, begin);
    if (!is_white_space(c.code)) break;
    begin += c.length_bytes;
  }
  return begin;
}

bool is_inside_word(std::string_view text, size_t begin, size_t end) {
  return (begin > 0 && is_word_character(utf8_char_before(text, begin).code)) ||
         (end < text.size() && is_word_character(utf8_char_at(text, end).code));
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, const Normalizer* normalizer)
    : tokens_(std::move(tokens)) {
  RegexScratch scratch;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const AddedToken& token = tokens_[i];
    by_id_.try_emplace(token.id, i);
    by_content_.try_emplace(token.content, i);
    const int index = static_cast<int>(i);
    if (!token.normalized) {
      raw_.add(token.content, index);
      continue;
    }
    NormalizedText spelling{token.content, false};
    if (normalizer != nullptr) normalizer->apply(spelling, scratch);
    normalized_.add(spelling.text, index);
  }
}

std::vector<AddedTokens::Section> AddedTokens::split_raw(std::string_view text, bool parse_special,
                                                         std::span<const TextSpan> letters) const {
  return split(text, raw_, parse_special, letters);
}

std::vector<AddedTokens::Section> AddedTokens::split_normalized(
    std::string_view text, bool parse_special, std::span<const TextSpan> letters) const {
  return split(text, normalized_, parse_special, letters);
}

// The leftmost match and there the longest; a match that is rejected still consumes its text.
std::vector<AddedTokens::Section> AddedTokens::split(std::string_view text, const PrefixTree& tree,
                                                     bool parse_special,
                                                     std::span<const TextSpan> letters) const {
  std::vector<Section> sections;
  size_t covered = 0;
  auto letter = letters.begin();  // the first that does not begin before `i`
  const auto text_until = [&](size_t end) {
    if (end > covered) sections.push_back({text.substr(covered, end - covered), -1});
  };
  for (size_t i = 0; i < text.size() && !tree.empty();) {
    if (!tree.may_begin_with(text[i])) {
      ++i;
      continue;
    }
    while (letter != letters.end() && letter->begin < i) ++letter;
    auto match = tree.longest(text, i);
    if (match && letter != letters.end() && letter->begin < i + match->length_bytes &&
        tokens_[static_cast<size_t>(match->value)].special) {
      if (letter->begin == i) {
        i = std::min(i + match->length_bytes, letter->end);
        continue;
      }
      match = tree.longest(text.substr(0, letter->begin), i);
    }
    if (!match) {
      ++i;
      continue;
    }
    size_t begin = i;
    size_t end = i + match->length_bytes;
    i = end;
    const AddedToken& token = tokens_[static_cast<size_t>(match->value)];
    if (token.special && !parse_special) continue;
    if (token.single_word && is_inside_word(text, begin, end)) continue;
    if (token.lstrip) begin = white_space_before(text, begin, std::min(covered, begin));
    // A match inside white space that was taken along already (up to `covered`) ends with it.
    if (token.rstrip) end = white_space_after(text, std::max(end, covered));
    text_until(begin);
    sections.push_back({text.substr(begin, end - begin), token.id});
    covered = end;
  }
  text_until(text.size());
  return sections;
}

const AddedToken* AddedTokens::find(TokenId id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

const AddedToken* AddedTokens::find(std::string_view content) const {
  const auto found = by_content_.find(content);
  return found == by_content_.end() ? nullptr : &tokens_[found->second];
}

bool AddedTokens::has_normalized_specials() const {
  return std::ranges::any_of(tokens_,
                             [](const AddedToken& one) { return one.special && one.normalized; });
}

TokenId AddedTokens::largest_id() const {
  TokenId largest = -1;
  for (const AddedToken& token : tokens_) largest = std::max(largest, token.id);
  return largest;
}

}  // namespace dak
