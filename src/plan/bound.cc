#include "plan/bound.h"

#include <algorithm>
#include <map>
#include <string>

namespace dak {

double bound_seconds(const std::vector<Tier>& tiers, const TierTraffic& traffic,
                     std::string* bottleneck) {
  std::map<std::string, double> seconds;
  for (size_t i = 0; i < tiers.size(); ++i) {
    if (tiers[i].read_bytes_per_s <= 0) continue;
    seconds[tiers[i].channel] +=
        static_cast<double>(traffic.read_bytes[i]) / tiers[i].read_bytes_per_s;
  }
  if (seconds.empty()) return 0;
  const auto slowest =
      std::max_element(seconds.begin(), seconds.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  if (bottleneck != nullptr) *bottleneck = slowest->first;
  return slowest->second;
}

}  // namespace dak
