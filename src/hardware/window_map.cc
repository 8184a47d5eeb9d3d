#include "hardware/window_map.h"

#include <algorithm>

namespace dak {
namespace {

// In the order of windows.
std::vector<WindowSample> row_of(std::span<const WindowSample> map, int64_t readers) {
  int64_t chosen = 0;
  for (const WindowSample& cell : map) {
    const bool enough = cell.readers >= readers;
    const bool chosen_enough = chosen >= readers;
    if (chosen == 0 ||
        (enough != chosen_enough ? enough : (cell.readers < chosen) == chosen_enough)) {
      chosen = cell.readers;
    }
  }
  std::vector<WindowSample> row;
  std::ranges::copy_if(map, std::back_inserter(row),
                       [chosen](const WindowSample& cell) { return cell.readers == chosen; });
  std::ranges::sort(row, {}, &WindowSample::window_bytes);
  return row;
}

}  // namespace

std::optional<Knee> knee_of(std::span<const WindowSample> map, int64_t readers) {
  const std::vector<WindowSample> row = row_of(map, readers);
  if (row.empty()) return std::nullopt;
  const double full =
      std::ranges::max(row, {}, &WindowSample::remote_bytes_per_s).remote_bytes_per_s;
  auto cell = std::ranges::find_if(
      row, [full](const WindowSample& one) { return one.remote_bytes_per_s >= kKneeShare * full; });
  Knee knee{.least_window_bytes = cell->window_bytes,
            .most_window_bytes = cell->window_bytes,
            .local_bytes_per_s = cell->local_bytes_per_s,
            .round_trip_us = cell->round_trip_us};
  for (; cell != row.end(); ++cell) {
    if (cell->local_bytes_per_s < kKneeShare * knee.local_bytes_per_s) break;
    knee.local_bytes_per_s = std::max(knee.local_bytes_per_s, cell->local_bytes_per_s);
    knee.most_window_bytes = cell->window_bytes;
  }
  return knee;
}

}  // namespace dak
