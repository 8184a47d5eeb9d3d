// The tolerance of every numeric test, derived and not chosen: the result may err twice as much as
// a naive implementation of the same precision, both measured against fp64.
//
// An error is divided by the element's `magnitude`, the size of what was summed (sum of |x| |w| for
// a product), since cancellation makes the error relative to the result unbounded for any order of
// summation. The largest over all elements is compared, because single elements are a lottery. A
// floor of 2 ulp (2 * 2^-23) of the magnitude covers small cases where the naive result is exact by
// luck. NaN and infinity never pass.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <sstream>
#include <string>

namespace dak::test {

struct Comparison {
  bool ok = false;
  double error = 0;      // largest normalised error of the result
  double tolerance = 0;  // what it had to stay within
  size_t worst = 0;      // element of that error
  std::string message;
};

inline double normalised_error(double value, double exact, double magnitude) {
  const double difference = std::abs(value - exact);
  if (difference == 0.0) return 0.0;
  return difference / magnitude;  // a difference where nothing was summed: infinity
}

// All spans of one length. `naive` is a straightforward f32 implementation of the same thing.
inline Comparison compare(std::span<const float> result, std::span<const float> naive,
                          std::span<const double> exact, std::span<const double> magnitude) {
  constexpr double kFloor = 2 * 0x1p-23;
  Comparison c;
  if (result.size() != exact.size() || naive.size() != exact.size() ||
      magnitude.size() != exact.size()) {
    c.message = "lengths differ";
    return c;
  }
  double naive_error = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    naive_error = std::max(naive_error, normalised_error(naive[i], exact[i], magnitude[i]));
  }
  c.tolerance = std::max(kFloor, 2 * naive_error);
  c.ok = std::isfinite(c.tolerance);
  for (size_t i = 0; i < exact.size(); ++i) {
    const double error = normalised_error(result[i], exact[i], magnitude[i]);
    const bool fine = error <= c.tolerance;  // false for NaN
    if (!fine) c.ok = false;
    if (!(error <= c.error)) {
      c.error = error;
      c.worst = i;
    }
  }
  if (!c.ok) {
    std::ostringstream text;
    text << "element " << c.worst << ": error " << c.error << " > tolerance " << c.tolerance;
    if (c.worst < exact.size()) text << ", " << result[c.worst] << " for " << exact[c.worst];
    c.message = text.str();
  }
  return c;
}

}  // namespace dak::test
