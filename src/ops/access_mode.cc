#include "ops/access_mode.h"

#include <array>

#include "base/choice.h"
#include "base/error.h"

namespace dak {
namespace {

constexpr std::array kModes{AccessMode::kDirect, AccessMode::kPrefetch, AccessMode::kUva,
                            AccessMode::kResident};

}  // namespace

std::string_view name(AccessMode mode) {
  switch (mode) {
    case AccessMode::kDirect:
      return "direct";
    case AccessMode::kPrefetch:
      return "prefetch";
    case AccessMode::kUva:
      return "uva";
    case AccessMode::kResident:
      return "resident";
  }
  return "unknown";
}

AccessMode parse_access_mode(std::string_view text, std::string_view flag) {
  for (const AccessMode mode : kModes) {
    if (text == name(mode)) return mode;
  }
  std::vector<std::string> names;
  names.reserve(std::size(kModes));
  for (const AccessMode mode : kModes) names.emplace_back(name(mode));
  throw_unknown(flag, text, "is not an access mode", names);
}

}  // namespace dak
