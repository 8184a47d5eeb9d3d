#include "plan/planner.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/units.h"

namespace dak {
namespace {

constexpr std::string_view kBudgetFlag = "--local-budget";

int64_t largest_block_bytes(const std::vector<Operand>& operands) {
  int64_t largest = 0;
  for (const Operand& operand : operands) largest = std::max(largest, operand.block_bytes());
  return largest;
}

int64_t total_bytes(const std::vector<Operand>& operands) {
  int64_t total = 0;
  for (const Operand& operand : operands) total += operand.size_bytes();
  return total;
}

// Spreads an operand's last `remote` blocks over the remote tiers, which fill up in order.
class RemoteTiers {
 public:
  explicit RemoteTiers(const std::vector<Tier>& tiers) : tiers_(tiers), free_bytes_(tiers.size()) {
    for (size_t i = 1; i < tiers.size(); ++i) free_bytes_[i] = tiers[i].capacity_bytes;
  }

  void place(const Operand& operand, int64_t remote, std::vector<TierSpan>& spans) {
    int64_t next = operand.blocks() - remote;
    for (size_t i = 1; i < tiers_.size() && next < operand.blocks(); ++i) {
      const int64_t wanted = operand.blocks() - next;
      const int64_t fits = std::min(wanted, free_bytes_[i] / operand.block_bytes());
      if (fits == 0) continue;
      spans.push_back({.tier = static_cast<TierIndex>(i), .first_block = next, .blocks = fits});
      free_bytes_[i] -= fits * operand.block_bytes();
      next += fits;
    }
    missing_bytes_ += (operand.blocks() - next) * operand.block_bytes();
  }

  int64_t missing_bytes() const { return missing_bytes_; }

 private:
  const std::vector<Tier>& tiers_;
  std::vector<int64_t> free_bytes_;
  int64_t missing_bytes_ = 0;
};

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

[[noreturn]] void throw_budget_too_small(const PlanRequest& request, int64_t budget,
                                         int64_t minimum) {
  throw Error(
      ErrorCode::kResourceExhausted,
      {.where = std::string(kBudgetFlag),
       .field = {},
       .value = format_bytes(budget),
       .problem = fmt::format(
           "is too small: norms {}, KV cache for {} tokens {} and workspace {} must be local",
           format_bytes(request.fixed.vector_bytes), request.fixed.kv_tokens,
           format_bytes(request.fixed.kv_bytes), format_bytes(request.fixed.activation_bytes)),
       .fix = fmt::format("use at least {} {} or a smaller --context", kBudgetFlag, minimum)});
}

}  // namespace

Plan plan_uniform(const PlanRequest& request) {
  require(!request.tiers.empty(), "a plan needs at least one tier");
  const int64_t weights = total_bytes(request.operands);
  const int64_t fixed = request.fixed.total_bytes();

  double ratio = 0;
  std::string reason;
  if (request.offload_ratio) {
    ratio = *request.offload_ratio;
    if (!(ratio >= 0 && ratio <= 1)) {
      throw_invalid("--offload-ratio", {}, fmt::format("{}", ratio), "is outside [0, 1]",
                    "0 keeps every weight local, 1 none");
    }
    reason = fmt::format("the offload ratio was given: {:.1f} %", ratio * 100);
  } else {
    const int64_t budget = request.local_budget_bytes.value_or(request.tiers[0].capacity_bytes);
    if (budget < fixed) throw_budget_too_small(request, budget, fixed);
    const int64_t for_weights = budget - fixed;
    if (weights > for_weights) {
      ratio = 1.0 - static_cast<double>(for_weights) / static_cast<double>(weights);
    }
    reason =
        ratio == 0
            ? fmt::format("everything fits the local budget of {}", format_bytes(budget))
            : fmt::format("the local budget of {} leaves {} for {} of weights",
                          format_bytes(budget), format_bytes(for_weights), format_bytes(weights));
  }

  Plan plan{.model = request.model,
            .policy = "uniform",
            .reason = reason,
            .tiers = request.tiers,
            .operands = {},
            .fixed = request.fixed};
  if (request.local_budget_bytes) plan.tiers[0].capacity_bytes = *request.local_budget_bytes;
  const std::vector<int64_t> remote =
      remote_blocks(request.operands, ratio, !request.offload_ratio.has_value());
  RemoteTiers remote_tiers(plan.tiers);
  for (size_t i = 0; i < request.operands.size(); ++i) {
    const Operand& operand = request.operands[i];
    OperandPlan entry{.operand = operand, .spans = {}};
    const int64_t local = operand.blocks() - remote[i];
    if (local > 0) entry.spans.push_back({.tier = 0, .first_block = 0, .blocks = local});
    remote_tiers.place(operand, remote[i], entry.spans);
    plan.operands.push_back(std::move(entry));
  }
  if (const int64_t missing = remote_tiers.missing_bytes(); missing > 0) {
    const int64_t minimum = plan.bytes_in(0) + missing + largest_block_bytes(request.operands);
    throw Error(
        ErrorCode::kResourceExhausted,
        {.where = "remote tiers",
         .field = {},
         .value = {},
         .problem = fmt::format("are {} too small for this model", format_bytes(missing)),
         .fix = fmt::format("use at least {} {}, or raise --host-budget", kBudgetFlag, minimum)});
  }
  return plan;
}

}  // namespace dak
