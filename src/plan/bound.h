// The bound: the least time in which a step's bytes can be read.
#pragma once

#include <string>
#include <vector>

#include "memory/tier.h"
#include "pass/program.h"
#include "plan/plan.h"

namespace dak {

// max over channels of the sum over the channel's tiers of bytes / bandwidth, in seconds. Tiers
// with unknown bandwidth (0) count as free; `bottleneck`, if given, gets the slowest channel's
// name.
double bound_seconds(const std::vector<Tier>& tiers, const TierTraffic& traffic,
                     std::string* bottleneck = nullptr);

// Weight bytes that one decode step of `batch` sequences reads, by tier.
TierTraffic decode_weight_traffic(const Plan& plan, int64_t batch);

// Bytes of remote weights that the products in `passes` of one prompt must read: once a pass, and
// those of the logits in the last pass only. No looked-up rows.
int64_t remote_weight_bytes(const Program& program, const Plan& plan, int64_t passes);

}  // namespace dak
