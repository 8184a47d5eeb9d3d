#include "cli/bench_stats.h"

#include <algorithm>

#include "base/error.h"

namespace dak {

double quantile_of(const std::vector<double>& sorted, double share) {
  require(!sorted.empty(), "a quantile of no values");
  const double at = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  const double part = at - static_cast<double>(below);
  return sorted[below] + part * (sorted[above] - sorted[below]);
}

Summary summarise(std::vector<double> values) {
  std::ranges::sort(values);
  Summary summary{.count = static_cast<int64_t>(values.size()),
                  .median = quantile_of(values, 0.5),
                  .min = values.front(),
                  .max = values.back()};
  if (summary.median > 0) {
    summary.spread_percent =
        100 * (quantile_of(values, 0.9) - quantile_of(values, 0.1)) / summary.median;
  }
  return summary;
}

}  // namespace dak
