// Bytes of weights that passes read under a plan. What a pass did read the operations count in
// OpContext::traffic; how often kernels read a byte again is the cost model's (bytes_read).
#pragma once

#include <array>
#include <cstdint>

#include "memory/tier.h"
#include "pass/program.h"
#include "plan/plan.h"

namespace dak {

using TierBytes = std::array<int64_t, kMaxTiers>;

// Of an operand in each tier, padding included: what a product reads of it.
TierBytes placed_bytes(const OperandPlan& entry);

// Weight bytes that one decode step of `batch` sequences reads, by tier.
TierTraffic decode_weight_traffic(const Plan& plan, int64_t batch);

// Bytes of remote weights that the products in `passes` of one prompt must read: once a pass, and
// those of the logits in the last pass only. No looked-up rows.
int64_t remote_weight_bytes(const Program& program, const Plan& plan, int64_t passes);

}  // namespace dak
