// Whole numbers in units.
#pragma once

#include <cstdint>

namespace dak {

// Both of values from 0 on and a unit above 0.
constexpr int64_t ceil_div(int64_t value, int64_t unit) { return (value + unit - 1) / unit; }
constexpr int64_t round_up(int64_t value, int64_t unit) { return ceil_div(value, unit) * unit; }

}  // namespace dak
