// What many measurements of one thing come to.
#pragma once

#include <cstdint>
#include <vector>

namespace dak {

struct Summary {
  int64_t count = 0;
  double median = 0;
  double min = 0;
  double max = 0;
  double spread_percent = 0;  // (90th - 10th percentile) / median
};

// The `share` quantile of `sorted` values, 0 to 1, linear between neighbours.
double quantile_of(const std::vector<double>& sorted, double share);

// Throws kInternal for no values.
Summary summarise(std::vector<double> values);

}  // namespace dak
