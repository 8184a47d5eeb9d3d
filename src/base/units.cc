#include "base/units.h"

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <string>

#include "base/error.h"

namespace dak {

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
  constexpr std::string_view kFix = "write a size such as 512MiB, 24GiB or 1.5g";
  double value = 0;
  const auto [rest, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status != std::errc{} || !(value >= 0)) {
    throw_invalid(where, {}, text, "is not a size", kFix);
  }
  std::string unit;
  for (const char* p = rest; p != text.data() + text.size(); ++p) {
    if (*p != ' ') unit += static_cast<char>(std::tolower(static_cast<unsigned char>(*p)));
  }
  constexpr std::string_view kPrefixes = "kmgt";
  double scale = 1;
  std::string_view tail = unit;
  if (!tail.empty() && kPrefixes.find(tail.front()) != std::string_view::npos) {
    scale = std::pow(1024.0, 1.0 + static_cast<double>(kPrefixes.find(tail.front())));
    tail.remove_prefix(1);
    if (!tail.empty() && tail.front() == 'i') tail.remove_prefix(1);
  }
  if (!tail.empty() && tail != "b") throw_invalid(where, {}, text, "has an unknown unit", kFix);
  if (value * scale >= 0x1p62) throw_invalid(where, {}, text, "is too large", kFix);
  return static_cast<int64_t>(value * scale);
}

}  // namespace dak
