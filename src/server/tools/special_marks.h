// Special tokens that stand in calls and around reasoning: [TOOL_CALLS], <|START_ACTION|>. In the
// texts of tokens and in grammars each is a code, which no other text has: it is neither spelled
// with other tokens nor part of a string.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace dak {

class SpecialMarks {
 public:
  // A code's first byte, which JSON allows nowhere.
  static constexpr char kCode = '\x01';

  SpecialMarks() = default;
  // Those special tokens of `tokenizer` that `texts` spell.
  SpecialMarks(const Tokenizer& tokenizer, const std::vector<std::string>& texts);

  const std::vector<TokenId>& tokens() const { return tokens_; }
  // The tokens' texts, with codes; and any text with codes instead of the tokens in it.
  std::string code(size_t index) const { return {kCode, static_cast<char>('0' + index)}; }
  std::string coded(std::string_view text) const;

 private:
  std::vector<TokenId> tokens_;
  std::vector<std::string> spellings_;  // of each, the longest first
};

}  // namespace dak
