#include "base/units.h"

#include <array>
#include <cmath>
#include <string>

#include "base/error.h"
#include "base/numbers.h"

namespace dak {
namespace {

constexpr std::string_view kPrefixes = "kmgtp";

}  // namespace

std::string format_bytes(int64_t bytes) {
  constexpr std::array<std::string_view, 5> kUnits{"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (std::abs(value) >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  if (unit == 0) return fmt::format("{} B", bytes);
  return fmt::format("{:.{}f} {}", value,
                     std::abs(value) < 10    ? 2
                     : std::abs(value) < 100 ? 1
                                             : 0,
                     kUnits[unit]);
}

std::string format_rate(double bytes_per_second) {
  const double gb = bytes_per_second / 1e9;
  return fmt::format("{:.{}f} GB/s", gb, gb < 10 ? 2 : gb < 1000 ? 1 : 0);
}

int64_t parse_bytes(std::string_view text, std::string_view where) {
  constexpr std::string_view kFix = "write a size such as 512MiB, 24GiB (binary) or 24GB (decimal)";
  const Amount amount = read_amount(text);
  if (amount.negative) throw_invalid(where, {}, text, "is a negative size", kFix);
  if (amount.number.empty()) throw_invalid(where, {}, text, "is not a size", kFix);
  if (amount.unit.empty() && amount.value != 0) {
    throw_invalid(where, {}, text, "is a size without a unit",
                  fmt::format("write {0}GiB, {0}MiB or, for bytes, {0}B", amount.number));
  }
  double scale = 1;
  if (!amount.unit.empty() && amount.unit != "b") {
    const size_t prefix = kPrefixes.find(amount.unit.front());
    const std::string_view rest = std::string_view(amount.unit).substr(1);
    if (prefix == std::string_view::npos || (!rest.empty() && rest != "b" && rest != "ib")) {
      throw_invalid(where, {}, text, "has an unknown unit", kFix);
    }
    scale = std::pow(rest == "b" ? 1000.0 : 1024.0, 1.0 + static_cast<double>(prefix));
  }
  if (!(amount.value * scale < 0x1p62)) throw_invalid(where, {}, text, kTooLarge, kFix);
  return static_cast<int64_t>(amount.value * scale);
}

}  // namespace dak
