// Regular expressions of JSON schemas as DFAs: the part of ECMA-262's that is regular. Where
// validators differ (whether \d, \w and \s hold digits, letters and spaces beyond ASCII), what is
// accepted is valid to all of them.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string_view>

#include "server/schema/text_dfa.h"

namespace dak {

// `what()` completes "the pattern ...".
class RegexError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline constexpr size_t kMostRegexStates = 4000;  // of the DFA, and of the NFA before it

// Texts in which `pattern` is found, anywhere unless it is anchored. Throws RegexError naming what
// is malformed, not supported or too large.
// `widest`: of what validators take differently, all that one of them takes.
TextDfa regex_dfa(std::string_view pattern, bool widest = false);

}  // namespace dak
