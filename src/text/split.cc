#include "text/split.h"

#include <algorithm>

namespace dak {
namespace {

// Joins each stretch for which `joins(previous_is_match, is_match)` onto the one before it.
template <typename Joins>
void join_forward(std::vector<Stretch>& stretches, Joins joins) {
  size_t kept = 0;
  bool previous_is_match = false;
  for (const Stretch& stretch : stretches) {
    if (kept > 0 && joins(previous_is_match, stretch.is_match)) {
      stretches[kept - 1].end = stretch.end;
    } else {
      stretches[kept++] = stretch;
    }
    previous_is_match = stretch.is_match;
  }
  stretches.resize(kept);
}

// From the back: a match joins what follows it, unless that is a match which did not join.
void join_matches_backward(std::vector<Stretch>& stretches) {
  size_t kept = stretches.size();
  bool following_is_match = false;
  for (size_t i = stretches.size(); i-- > 0;) {
    const Stretch stretch = stretches[i];
    if (kept < stretches.size() && stretch.is_match && !following_is_match) {
      stretches[kept].begin = stretch.begin;
    } else {
      stretches[--kept] = stretch;
    }
    following_is_match = stretch.is_match;
  }
  stretches.erase(stretches.begin(), stretches.begin() + static_cast<std::ptrdiff_t>(kept));
}

}  // namespace

void apply_split_behavior(std::vector<Stretch>& stretches, SplitBehavior behavior) {
  switch (behavior) {
    case SplitBehavior::kIsolated:
      return;
    case SplitBehavior::kRemoved:
      std::erase_if(stretches, [](const Stretch& s) { return s.is_match; });
      return;
    case SplitBehavior::kContiguous:
      return join_forward(stretches, [](bool previous, bool now) { return previous == now; });
    case SplitBehavior::kMergedWithPrevious:
      return join_forward(stretches, [](bool previous, bool now) { return now && !previous; });
    case SplitBehavior::kMergedWithNext:
      return join_matches_backward(stretches);
  }
}

}  // namespace dak
