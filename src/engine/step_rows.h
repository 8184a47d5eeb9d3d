// How many rows a recorded decode step has. A GPU's steps are recorded for few numbers of rows; one
// for more sequences than there are leaves rows empty. Products round differently by how many rows
// a pass has (up to 16, 32, 64, more), so no number of sequences is given rows of another class.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "base/math.h"

namespace dak {

// Rows of the step that `sequences` take, 1 and more, where at most `most` run side by side: 1, 2,
// 4, 8, then fourths of each power of two, but no fewer than 4 at a time; `most` itself is always
// one. Never fewer rows than sequences; above 16 less than a fourth is empty.
inline int64_t step_rows(int64_t sequences, int64_t most) {
  if (sequences <= 2) return sequences;
  const auto below = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(sequences - 1)));
  const int64_t each = std::max<int64_t>(4, below / 4);
  return std::min(round_up(sequences, each), most);
}

// All of them, ascending.
inline std::vector<int64_t> all_step_rows(int64_t most) {
  std::vector<int64_t> all;
  for (int64_t rows = 0; rows < most;) all.push_back(rows = step_rows(rows + 1, most));
  return all;
}

}  // namespace dak
