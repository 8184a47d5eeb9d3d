// What a tokenizer does to text before it looks for words.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/regex.h"
#include "text/unicode.h"

namespace dak {

struct NormalizedText {
  std::string text;       // valid UTF-8
  bool at_start = false;  // the first character comes from the first of the whole input
};

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual void apply(NormalizedText& text, RegexScratch& scratch) const = 0;
};

using NormalizerPtr = std::unique_ptr<const Normalizer>;

NormalizerPtr make_sequence_normalizer(std::vector<NormalizerPtr> steps);
NormalizerPtr make_unicode_normalizer(NormalizationForm form);
NormalizerPtr make_lowercase_normalizer();
NormalizerPtr make_strip_accents_normalizer();
NormalizerPtr make_strip_normalizer(bool left, bool right);
NormalizerPtr make_prepend_normalizer(std::string prefix);  // not onto an empty text
NormalizerPtr make_replace_normalizer(Regex pattern, std::string content);
NormalizerPtr make_replace_normalizer(std::string literal, std::string content);

// Normalised text may be this many times as long as what it was made from, and 64 KiB more: a file
// with a chain of replacements that double the text must not fill the memory. (The longest growth
// of any Unicode form is 11.) Throws kResourceExhausted.
void check_growth(size_t from_bytes, size_t to_bytes);

// Each match of `pattern` in `text` as `content`.
std::string replace_matches(const Regex& pattern, std::string_view text, std::string_view content,
                            RegexScratch& scratch);

// Each occurrence of `literal`, left to right; none where it is empty.
std::string replace_literal(std::string_view literal, std::string_view text,
                            std::string_view content);

}  // namespace dak
