// Cuts normalised text into the words that the model merges within.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/regex.h"
#include "text/split.h"

namespace dak {

// Words in order. A word points into the caller's text or into `owned`.
struct Words {
  struct Word {
    std::string_view text;
    bool at_start = false;  // begins where the whole input begins
  };
  std::vector<Word> words;
  std::deque<std::string> owned;

  // The words are raw bytes that the model must see in GPT-2's byte alphabet. Spelled out only
  // where needed: by whatever looks at the words next, or by the model for a word not in its cache.
  bool spell_bytes = false;
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void apply(Words& words, RegexScratch& scratch) const = 0;
};

using PreTokenizerPtr = std::unique_ptr<const PreTokenizer>;

enum class PrependScheme { kAlways, kFirst, kNever };

PreTokenizerPtr make_sequence_pre_tokenizer(std::vector<PreTokenizerPtr> steps);
PreTokenizerPtr make_prefix_space_pre_tokenizer();  // " " before each word that has none
PreTokenizerPtr make_byte_level_pre_tokenizer(bool add_prefix_space, bool use_regex);
PreTokenizerPtr make_split_pre_tokenizer(Regex pattern, SplitBehavior behavior, bool invert);
PreTokenizerPtr make_digits_pre_tokenizer(bool individual_digits);
PreTokenizerPtr make_punctuation_pre_tokenizer(SplitBehavior behavior);
PreTokenizerPtr make_white_space_pre_tokenizer();        // runs of \w, runs of [^\w\s]
PreTokenizerPtr make_white_space_split_pre_tokenizer();  // between white space
// `replacement` is one character.
PreTokenizerPtr make_metaspace_pre_tokenizer(std::string replacement, PrependScheme prepend,
                                             bool split);

// GPT-2's pattern, which ByteLevel uses.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace dak
