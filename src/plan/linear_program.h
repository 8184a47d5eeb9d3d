// A small linear program, solved exactly by the simplex method. Dense: for hundreds of rows.
#pragma once

#include <optional>
#include <vector>

namespace dak {

// Minimise cost . x over x >= 0 with row . x >= least for every row. All of `cost` is >= 0, so that
// there is a least.
struct LinearProgram {
  struct Row {
    std::vector<double> factors;  // [variables]
    double least = 0;
  };
  std::vector<double> cost;  // [variables]
  std::vector<Row> rows;
};

// An optimal x; nullopt: no x keeps to the rows. Numbers should be near 1: entries below 1e-11
// count as 0.
std::optional<std::vector<double>> solve(const LinearProgram& program);

}  // namespace dak
