#include "plan/planner.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/units.h"
#include "plan/placement.h"

namespace dak {
namespace {

// Blocks of each operand that go remote at `ratio`. With `never_less`, rounding errs to remote, so
// that the local part never exceeds its share by more than nothing.
std::vector<int64_t> remote_blocks(const std::vector<Operand>& operands, double ratio,
                                   bool never_less) {
  std::vector<int64_t> blocks;
  double wanted_bytes = 0;  // remote bytes wanted so far
  double placed_bytes = 0;
  for (const Operand& operand : operands) {
    const auto block = static_cast<double>(operand.block_bytes());
    wanted_bytes += ratio * static_cast<double>(operand.size_bytes());
    const double exact = (wanted_bytes - placed_bytes) / block;
    const double rounded = never_less ? std::ceil(exact - 1e-9) : std::round(exact);
    const int64_t count = std::clamp<int64_t>(static_cast<int64_t>(rounded), 0, operand.blocks());
    placed_bytes += static_cast<double>(count) * block;
    blocks.push_back(count);
  }
  return blocks;
}

// Two buffers, used in turn. Where an odd number would let the last of a cycle meet the first of
// the next in one buffer, the last gets a third.
PrefetchPlan buffers_for(const std::vector<Operand>& operands, const std::vector<int64_t>& remote) {
  PrefetchPlan plan;
  for (size_t i = 0; i < operands.size(); ++i) {
    if (operands[i].use != OperandUse::kMatmul || remote[i] == 0) continue;
    plan.cycle.push_back({.operand = i, .buffer = plan.cycle.size() % 2});
  }
  const size_t count = plan.cycle.size();
  if (count > 1 && count % 2 == 1) plan.cycle.back().buffer = 2;
  for (const PrefetchPlan::Stage& stage : plan.cycle) {
    plan.buffer_bytes.resize(std::max(plan.buffer_bytes.size(), stage.buffer + 1));
    int64_t& bytes = plan.buffer_bytes[stage.buffer];
    bytes = std::max(bytes, remote[stage.operand] * operands[stage.operand].block_bytes());
  }
  return plan;
}

int64_t buffer_bytes(const PlanRequest& request, const std::vector<int64_t>& remote) {
  return request.prefetch ? buffers_for(request.operands, remote).total_bytes() : 0;
}

// Tier 0 when `remote` blocks of each operand are elsewhere.
int64_t local_bytes(const PlanRequest& request, const std::vector<int64_t>& remote) {
  int64_t bytes = request.fixed.total_bytes() + buffer_bytes(request, remote);
  for (size_t i = 0; i < remote.size(); ++i) {
    const Operand& operand = request.operands[i];
    bytes += (operand.blocks() - remote[i]) * operand.block_bytes();
  }
  return bytes;
}

struct Choice {
  double ratio = 0;
  std::string reason;
};

// A buffer is never larger than what leaves HBM for it, so more remote blocks never need more of
// it: the ratio with the smallest need is 1.
Choice ratio_for_budget(const PlanRequest& request, int64_t smallest) {
  const int64_t budget = request.local_budget_bytes.value_or(request.tiers[0].capacity_bytes);
  if (budget < smallest) throw_budget_too_small(request, budget, smallest);
  const int64_t weights = total_bytes(request.operands);
  const int64_t left = budget - request.fixed.total_bytes();
  if (weights <= left) {
    return {0, fmt::format("everything fits the local budget of {}", format_bytes(budget))};
  }
  if (!request.prefetch) {
    return {1.0 - static_cast<double>(left) / static_cast<double>(weights),
            fmt::format("the local budget of {} leaves {} for {} of weights", format_bytes(budget),
                        format_bytes(left), format_bytes(weights))};
  }
  const auto remote_at = [&](double ratio) {
    return remote_blocks(request.operands, ratio, /*never_less=*/true);
  };
  const double ratio =
      least_ratio(budget, [&](double at) { return local_bytes(request, remote_at(at)); });
  return {ratio, fmt::format("the local budget of {} leaves {} for {} of weights and {} of buffers",
                             format_bytes(budget), format_bytes(left), format_bytes(weights),
                             format_bytes(buffer_bytes(request, remote_at(ratio))))};
}

}  // namespace

Plan plan_uniform(const PlanRequest& request) {
  require(!request.tiers.empty(), "a plan needs at least one tier");
  std::vector<int64_t> all;
  for (const Operand& operand : request.operands) all.push_back(operand.blocks());
  const int64_t smallest = request.fixed.total_bytes() + buffer_bytes(request, all);

  Choice choice;
  if (request.offload_ratio) {
    choice.ratio = checked_ratio(*request.offload_ratio);
    choice.reason = fmt::format("the offload ratio was given: {:.1f} %", choice.ratio * 100);
  } else {
    choice = ratio_for_budget(request, smallest);
  }

  Plan plan{.model = request.model,
            .policy = "uniform",
            .reason = choice.reason,
            .tiers = request.tiers,
            .operands = {},
            .fixed = request.fixed,
            .prefetch = {},
            .smallest_local_budget_bytes = smallest_budget(request, smallest)};
  if (request.local_budget_bytes) plan.tiers[0].capacity_bytes = *request.local_budget_bytes;
  const std::vector<int64_t> remote =
      remote_blocks(request.operands, choice.ratio, !request.offload_ratio.has_value());
  RemoteTiers remote_tiers(plan);
  // Kernels read all links at once. The copy engine brings one piece after the other: there the
  // fastest tier comes first.
  if (!request.prefetch) {
    int64_t remote_bytes = 0;
    for (size_t i = 0; i < remote.size(); ++i) {
      remote_bytes += remote[i] * request.operands[i].block_bytes();
    }
    remote_tiers.spread(remote_bytes);
  }
  for (size_t i = 0; i < request.operands.size(); ++i) {
    const Operand& operand = request.operands[i];
    OperandPlan entry{.operand = operand, .spans = {}};
    const int64_t local = operand.blocks() - remote[i];
    if (local > 0) entry.spans.push_back({.tier = 0, .first_block = 0, .blocks = local});
    remote_tiers.place(operand, remote[i], entry.spans);
    plan.operands.push_back(std::move(entry));
  }
  if (request.prefetch) {
    plan.prefetch = buffers_for(request.operands, remote);
    plan.fixed.prefetch_bytes = plan.prefetch.total_bytes();
  }
  check_remote_room(plan, remote_tiers.missing_bytes(), largest_block_bytes(request.operands));
  return plan;
}

}  // namespace dak
