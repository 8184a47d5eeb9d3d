// Character tables for Python's str methods; the data is written by
// reference/jinja_unicode_data.py.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace dak::jinja {

struct CodeRange {
  uint32_t first;
  uint32_t last;
};

// Every `stride`-th code point of [first, last] maps to itself plus `delta`.
struct CaseRange {
  uint32_t first;
  uint32_t last;
  uint32_t stride;
  int32_t delta;
};

// One code point whose upper case is several (0 ends the list early), e.g. U+00DF -> "SS".
struct CaseExpansion {
  uint32_t code;
  std::array<uint32_t, 3> upper;
};

// All are sorted by code point.
const std::vector<CodeRange>& unprintable_ranges();
const std::vector<CodeRange>& alpha_ranges();
const std::vector<CodeRange>& decimal_ranges();
const std::vector<CodeRange>& digit_ranges();
const std::vector<CodeRange>& numeric_ranges();
const std::vector<CaseRange>& upper_ranges();
const std::vector<CaseRange>& lower_ranges();
const std::vector<CaseExpansion>& upper_expansions();

}  // namespace dak::jinja
