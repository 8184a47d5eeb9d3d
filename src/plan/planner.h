// Choosing the offload ratio of each operation.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "plan/greedy.h"
#include "plan/plan.h"

namespace dak {

struct PlanRequest {
  std::string model;
  std::vector<Operand>
      operands;  // matmuls in the order of a forward pass, which may begin anywhere
  FixedMemory fixed;
  std::vector<Tier> tiers;  // [0] local, [1..] remote, in order of preference

  // At most one of the two. Neither: everything local if it fits, else as much as fits.
  std::optional<int64_t> local_budget_bytes;  // bound on all that is allocated in tier 0
  std::optional<double> offload_ratio;        // in [0, 1], of the bytes of every operand
  // Mode prefetch: the plan gets buffers for the remote parts, inside the budget.
  bool prefetch = false;

  // For plan_greedy: of each operand its part of what is to be least, and that in words.
  std::vector<std::vector<PlacedItem::Term>> costs = {};
  std::string objective = {};
};

// The same ratio for every operand, rounded to row blocks so that the total keeps to the budget:
// rounding errors are carried from operand to operand instead of adding up. Remote blocks are the
// last of each operand. Each remote tier has the same share of every operand's, in proportion to
// its bandwidth as far as it has room, so that all links are done at once; with `prefetch`, whose
// copies come one after the other, they fill the tiers in order. Throws kResourceExhausted naming
// the smallest budget that works when the fixed memory alone exceeds it, or when the remote tiers
// are too small; kInvalidArgument for a ratio outside [0, 1].
Plan plan_uniform(const PlanRequest& request);

// Each row block in the tier where the sum of the request's costs is least, within the budget and
// the tiers' capacities: optimal for the cost model, to a block (docs/design/placement.md). A given
// ratio is of all bytes together. Requires `costs`, and no `prefetch`. Errors as above.
Plan plan_greedy(const PlanRequest& request);

// Operands wholly local or wholly remote, for kernels that read from one place. The remote ones are
// spread evenly over the list; what a budget has left then goes to the first operands that fit it.
// A given ratio is met to half an operand. Matmul operands become row-major. Errors as above.
Plan plan_whole_operands(const PlanRequest& request);

}  // namespace dak
