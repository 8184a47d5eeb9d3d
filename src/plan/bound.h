// The bound: the least time in which a step's bytes can be read.
#pragma once

#include <string>
#include <vector>

#include "memory/tier.h"

namespace dak {

// max over channels of the sum over the channel's tiers of bytes / bandwidth, in seconds. Tiers
// with unknown bandwidth (0) count as free; `bottleneck`, if given, gets the slowest channel's
// name.
double bound_seconds(const std::vector<Tier>& tiers, const TierTraffic& traffic,
                     std::string* bottleneck = nullptr);

}  // namespace dak
