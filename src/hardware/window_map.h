// Where a link is full and local memory is still fast, read off the heat map of `dak probe`.
#pragma once

#include <optional>
#include <span>

#include "hardware/profile.h"

namespace dak {

struct Knee {
  int64_t least_window_bytes = 0;  // from here on the link is full
  int64_t most_window_bytes = 0;   // up to here, in one run from the least, local keeps its speed
  double local_bytes_per_s = 0;    // the most that local reads between the two
  double round_trip_us = 0;        // in the least window
};

// "Full" and "keeps its speed": at least this share of the row's best. Two measurements of one cell
// differ by up to 1 %.
inline constexpr double kKneeShare = 0.97;

// Of the row of the map with the fewest readers that are at least `readers`, else of the most.
// nullopt for an empty map.
std::optional<Knee> knee_of(std::span<const WindowSample> map, int64_t readers);

}  // namespace dak
