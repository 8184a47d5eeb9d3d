#include <algorithm>

#include "base/error.h"
#include "base/units.h"
#include "plan/placement.h"

namespace dak {
namespace {

// Which operands are remote at `ratio`: each time the share that is owed comes to half of one.
std::vector<bool> remote_at(const std::vector<Operand>& operands, double ratio) {
  std::vector<bool> remote;
  double owed_bytes = 0;
  for (const Operand& operand : operands) {
    const auto size = static_cast<double>(operand.size_bytes());
    owed_bytes += ratio * size;
    const bool goes = ratio > 0 && owed_bytes >= size / 2;
    if (goes) owed_bytes -= size;
    remote.push_back(goes);
  }
  return remote;
}

int64_t local_bytes(const PlanRequest& request, const std::vector<bool>& remote) {
  int64_t bytes = request.fixed.total_bytes();
  for (size_t i = 0; i < remote.size(); ++i) {
    if (!remote[i]) bytes += request.operands[i].size_bytes();
  }
  return bytes;
}

struct Choice {
  std::vector<bool> remote;
  std::string reason;
};

Choice choose_for_budget(const PlanRequest& request) {
  const std::vector<Operand>& operands = request.operands;
  const int64_t fixed = request.fixed.total_bytes();
  const int64_t budget = request.local_budget_bytes.value_or(request.tiers[0].capacity_bytes);
  if (budget < fixed) throw_budget_too_small(request, budget, fixed);
  if (fixed + total_bytes(operands) <= budget) {
    return {std::vector<bool>(operands.size(), false),
            fmt::format("everything fits the local budget of {}", format_bytes(budget))};
  }
  const double ratio =
      least_ratio(budget, [&](double at) { return local_bytes(request, remote_at(operands, at)); });
  std::vector<bool> remote = remote_at(operands, ratio);
  int64_t used = local_bytes(request, remote);
  for (size_t i = 0; i < operands.size(); ++i) {
    if (!remote[i] || used + operands[i].size_bytes() > budget) continue;
    remote[i] = false;
    used += operands[i].size_bytes();
  }
  return {std::move(remote),
          fmt::format("of {} of weights, the whole operands that fit the local budget of {}",
                      format_bytes(total_bytes(operands)), format_bytes(budget))};
}

}  // namespace

Plan plan_whole_operands(const PlanRequest& request) {
  require(!request.tiers.empty(), "a plan needs at least one tier");
  Choice choice;
  if (request.offload_ratio) {
    choice.remote = remote_at(request.operands, checked_ratio(*request.offload_ratio));
    choice.reason =
        fmt::format("the offload ratio was given: {:.1f} %", *request.offload_ratio * 100);
  } else {
    choice = choose_for_budget(request);
  }
  Plan plan{.model = request.model,
            .policy = "whole operands",
            .reason = choice.reason,
            .tiers = request.tiers,
            .operands = {},
            .fixed = request.fixed,
            .prefetch = {},
            .smallest_local_budget_bytes = request.fixed.total_bytes()};
  if (request.local_budget_bytes) plan.tiers[0].capacity_bytes = *request.local_budget_bytes;
  RemoteTiers remote_tiers(plan);
  for (size_t i = 0; i < request.operands.size(); ++i) {
    OperandPlan entry{.operand = request.operands[i], .spans = {}};
    if (entry.operand.use == OperandUse::kMatmul) entry.operand.layout = WeightLayout::kRowMajor;
    if (choice.remote[i]) {
      remote_tiers.place_whole(entry.operand, entry.spans);
    } else {
      entry.spans.push_back({.tier = 0, .first_block = 0, .blocks = entry.operand.blocks()});
    }
    plan.operands.push_back(std::move(entry));
  }
  int64_t largest = 0;
  for (const Operand& operand : request.operands) {
    largest = std::max(largest, operand.size_bytes());
  }
  check_remote_room(plan, remote_tiers.missing_bytes(), largest);
  return plan;
}

}  // namespace dak
