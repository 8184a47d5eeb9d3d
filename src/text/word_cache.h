// The tokens of words met before within one call: text repeats itself.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace dak {

class WordCache {
 public:
  static constexpr size_t kMaxWordBytes = 64;

  // The tokens of `word`, or an empty span when it is not there. Valid until the next store().
  std::span<const TokenId> find(std::string_view word) const;

  // Longer words, and words without tokens, are not stored. Forgets everything when full.
  void store(std::string_view word, std::span<const TokenId> tokens);

 private:
  struct Entry {
    uint64_t hash = 0;
    uint32_t word_begin = 0;
    uint32_t token_begin = 0;
    uint16_t word_bytes = 0;  // 0: an empty slot
    uint16_t token_count = 0;
  };

  size_t slot_of(std::string_view word, uint64_t hash) const;
  void grow();

  std::vector<Entry> entries_;
  size_t count_ = 0;
  std::string words_;
  std::vector<TokenId> tokens_;
};

}  // namespace dak
