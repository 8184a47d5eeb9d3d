// Properties of characters and normalisation forms, as the tokenizers that models were trained
// with see them. `text` is valid UTF-8 throughout.
#pragma once

#include <string>
#include <string_view>

namespace dak {

bool is_white_space(char32_t code);     // property White_Space
bool is_numeric(char32_t code);         // categories Nd, Nl, No
bool is_punctuation(char32_t code);     // categories P*, and all ASCII punctuation
bool is_word_character(char32_t code);  // \w of Unicode TS 18: Alphabetic, M, Nd, Pc, Join_Control
bool is_combining_mark(char32_t code);  // categories M*

// PCRE2's Unicode is older than that of the regular expressions of `tokenizers`. Where `text` has
// a newer character, returns a text in which each is an older one of the same category and length
// in bytes, so that a pattern matches at the same places; else an empty text.
std::string with_older_characters(std::string_view text);

enum class NormalizationForm { kNfc, kNfd, kNfkc, kNfkd };

std::string normalize_unicode(std::string_view text, NormalizationForm form);

// Full lower-case mapping of each character by itself (no final-sigma rule).
std::string lowercase_unicode(std::string_view text);

}  // namespace dak
