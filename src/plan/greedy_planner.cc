#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/units.h"
#include "plan/placement.h"

namespace dak {
namespace {

PlacementProblem problem_of(const PlanRequest& request, int64_t local_bytes) {
  PlacementProblem problem;
  for (size_t i = 0; i < request.operands.size(); ++i) {
    const Operand& operand = request.operands[i];
    problem.items.push_back({.blocks = operand.blocks(),
                             .block_bytes = operand.block_bytes(),
                             .terms = request.costs[i]});
  }
  for (size_t i = 0; i < request.tiers.size(); ++i) {
    const int64_t room = weight_room(request.tiers[i], static_cast<TierIndex>(i), request.fixed);
    // More than everything is no more; sums of capacities must not overflow.
    problem.capacity_bytes.push_back(std::min(room, total_bytes(request.operands)));
  }
  problem.capacity_bytes[0] = local_bytes;
  if (request.offload_ratio) {
    problem.offload_bytes = std::llround(checked_ratio(*request.offload_ratio) *
                                         static_cast<double>(total_bytes(request.operands)));
  }
  return problem;
}

std::string reason_of(const PlanRequest& request, int64_t budget, int64_t left, double offloaded) {
  const int64_t weights = total_bytes(request.operands);
  const std::string what = "what costs least for " + request.objective;
  if (request.offload_ratio) {
    return fmt::format("the offload ratio was given: {:.1f} %, of {}", 100 * *request.offload_ratio,
                       what);
  }
  if (weights <= left && offloaded == 0) {
    return fmt::format("everything fits the local budget of {}", format_bytes(budget));
  }
  if (weights <= left) {
    return fmt::format("everything fits the local budget of {}; what leaves it gains time for {}",
                       format_bytes(budget), request.objective);
  }
  return fmt::format("the local budget of {} leaves {} for {}; {} leaves it", format_bytes(budget),
                     format_bytes(left), format_bytes(weights), what);
}

// Over several links a few blocks of each operand may be all that one of them gets: what rounding
// them costs must not make the plan worse than the uniform one.
Placement better_of(const PlacementProblem& problem, Placement placement,
                    const PlanRequest& request) {
  if (placement.missing_bytes > 0) return placement;
  Placement uniform;
  try {
    for (const OperandPlan& entry : plan_uniform(request).operands) {
      TierBlocks blocks{};
      for (const TierSpan& span : entry.spans) blocks[span.tier] += span.blocks;
      uniform.blocks.push_back(blocks);
    }
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kResourceExhausted) throw;
    return placement;  // there is no uniform plan
  }
  const bool worse =
      cost_of_placement(problem, uniform.blocks) < cost_of_placement(problem, placement.blocks);
  return worse ? std::move(uniform) : std::move(placement);
}

}  // namespace

Plan plan_greedy(const PlanRequest& request) {
  require(!request.tiers.empty(), "a plan needs at least one tier");
  require(request.costs.size() == request.operands.size(), "a cost for each operand");
  require(!request.prefetch, "prefetch buffers are placed by the uniform planner");
  const int64_t fixed = request.fixed.total_bytes();
  const int64_t budget = request.local_budget_bytes.value_or(request.tiers[0].capacity_bytes);
  if (!request.offload_ratio && budget < fixed) {
    throw_budget_too_small(request, budget, smallest_budget(request, fixed));
  }
  const PlacementProblem problem = problem_of(request, budget - fixed);
  const Placement placement = has_one_link(problem)
                                  ? place_greedily(problem)
                                  : better_of(problem, place_by_program(problem), request);

  Plan plan{.model = request.model,
            .policy = "greedy",
            .reason = {},
            .tiers = request.tiers,
            .operands = {},
            .fixed = request.fixed,
            .prefetch = {},
            .smallest_local_budget_bytes = smallest_budget(request, fixed)};
  if (request.local_budget_bytes) plan.tiers[0].capacity_bytes = *request.local_budget_bytes;
  for (size_t i = 0; i < request.operands.size(); ++i) {
    OperandPlan entry{.operand = request.operands[i], .spans = {}};
    int64_t next = 0;
    for (size_t t = 0; t < request.tiers.size(); ++t) {
      const int64_t blocks = placement.blocks[i][t];
      if (blocks == 0) continue;
      entry.spans.push_back(
          {.tier = static_cast<TierIndex>(t), .first_block = next, .blocks = blocks});
      next += blocks;
    }
    plan.operands.push_back(std::move(entry));
  }
  plan.reason = reason_of(request, budget, budget - fixed, plan.offload_ratio());
  if (placement.missing_bytes > 0) {
    // They are still among the local ones: without them, as check_remote_room counts.
    throw_remote_too_small(placement.missing_bytes,
                           plan.bytes_in(0) + largest_block_bytes(request.operands));
  }
  return plan;
}

}  // namespace dak
