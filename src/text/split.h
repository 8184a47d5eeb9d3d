// Cutting a text at the matches of a pattern, and what becomes of the matches.
#pragma once

#include <cstddef>
#include <string_view>
#include <utility>
#include <vector>

namespace dak {

enum class SplitBehavior {
  kRemoved,             // "a-b" at '-': a b
  kIsolated,            // a - b
  kMergedWithPrevious,  // a- b
  kMergedWithNext,      // a -b
  kContiguous,          // neighbouring matches are one piece
};

// Consecutive stretches that cover a text, each a match or what lies between matches.
struct Stretch {
  size_t begin = 0;
  size_t end = 0;
  bool is_match = false;
};

// Joins or drops stretches as `behavior` says, in place. Empty ones may remain.
void apply_split_behavior(std::vector<Stretch>& stretches, SplitBehavior behavior);

}  // namespace dak
