// Tokens beside the model's own: found in the text before the model sees it, never split.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/normalizer.h"
#include "text/prefix_tree.h"
#include "text/tokenizer.h"

namespace dak {

struct AddedToken {
  TokenId id = -1;
  std::string content;       // not empty
  bool special = false;      // left out of decoded text on request
  bool normalized = false;   // looked for after the normaliser, in its normalised spelling
  bool lstrip = false;       // takes white space before it along
  bool rstrip = false;       // ... after it
  bool single_word = false;  // not inside a longer word
};

class AddedTokens {
 public:
  AddedTokens(std::vector<AddedToken> tokens, const Normalizer* normalizer);

  struct Section {
    std::string_view text;
    TokenId token = -1;  // -1: plain text
  };

  // Cuts `text` at tokens that are looked for before / after normalisation. Where
  // `parse_special` is false, special tokens are text; else those are that would cover the first
  // byte of any of `letters`.
  std::vector<Section> split_raw(std::string_view text, bool parse_special,
                                 std::span<const TextSpan> letters = {}) const;
  std::vector<Section> split_normalized(std::string_view text, bool parse_special,
                                        std::span<const TextSpan> letters = {}) const;

  const AddedToken* find(TokenId id) const;
  const AddedToken* find(std::string_view content) const;
  TokenId largest_id() const;  // -1 without tokens
  std::span<const AddedToken> tokens() const { return tokens_; }
  bool has_normalized_specials() const;

 private:
  std::vector<Section> split(std::string_view text, const PrefixTree& tree, bool parse_special,
                             std::span<const TextSpan> letters) const;

  std::vector<AddedToken> tokens_;
  PrefixTree raw_;  // values are indices into tokens_
  PrefixTree normalized_;
  std::unordered_map<TokenId, size_t> by_id_;
  std::unordered_map<std::string_view, size_t> by_content_;  // views into tokens_
};

}  // namespace dak
