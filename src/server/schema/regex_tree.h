// A regular expression as a tree: what regex.cc makes a DFA of.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "server/schema/regex.h"

namespace dak {

struct CodeRange {
  uint32_t first = 0;
  uint32_t last = 0;
};
// In order, without overlaps.
using CodeSet = std::vector<CodeRange>;

CodeSet set_of(std::vector<CodeRange> ranges);
CodeSet outside(const CodeSet& set);  // every other code point but surrogates

struct RegexTree {
  enum class Kind : uint8_t { kSet, kSequence, kEither, kRepeat, kBegin, kEnd, kAhead, kNotAhead };
  Kind kind = Kind::kSequence;
  CodeSet set;                      // kSet
  std::vector<RegexTree> children;  // one of kRepeat, kAhead and kNotAhead
  int least = 0;                    // kRepeat
  int most = 0;                     // -1: no limit
};

// `widest`: as regex_dfa has it.
RegexTree parse_regex(std::string_view pattern, bool widest);

}  // namespace dak
