#include "plan/placement.h"

#include "base/error.h"
#include "base/units.h"

namespace dak {
namespace {

constexpr std::string_view kBudgetFlag = "--local-budget";
constexpr int kHalvings = 50;  // to the last block of any model

}  // namespace

int64_t total_bytes(const std::vector<Operand>& operands) {
  int64_t total = 0;
  for (const Operand& operand : operands) total += operand.size_bytes();
  return total;
}

int64_t largest_block_bytes(const std::vector<Operand>& operands) {
  int64_t largest = 0;
  for (const Operand& operand : operands) largest = std::max(largest, operand.block_bytes());
  return largest;
}

int64_t weight_room(const Tier& tier, TierIndex index, const FixedMemory& fixed) {
  return std::max<int64_t>(0, tier.capacity_bytes - fixed.kv_remote_bytes.at(index));
}

int64_t smallest_budget(const PlanRequest& request, int64_t local_bytes) {
  int64_t left = total_bytes(request.operands);
  for (size_t i = 1; i < request.tiers.size(); ++i) {
    // A capacity may be the largest int.
    left -= std::min(left, weight_room(request.tiers[i], static_cast<TierIndex>(i), request.fixed));
  }
  return std::max(local_bytes, request.fixed.total_bytes() + left);
}

double checked_ratio(double ratio) {
  if (!(ratio >= 0 && ratio <= 1)) {
    throw_invalid("--offload-ratio", {}, fmt::format("{}", ratio), "is outside [0, 1]",
                  "0 keeps every weight local, 1 none");
  }
  return ratio;
}

double least_ratio(int64_t budget, const std::function<int64_t(double)>& bytes_at) {
  double too_little = 0;
  double enough = 1;
  for (int i = 0; i < kHalvings; ++i) {
    const double middle = (too_little + enough) / 2;
    (bytes_at(middle) <= budget ? enough : too_little) = middle;
  }
  return enough;
}

void throw_budget_too_small(const PlanRequest& request, int64_t budget, int64_t smallest) {
  std::string parts = fmt::format(
      "norms {}, KV cache for {} tokens {} and workspace {} must be local",
      format_bytes(request.fixed.vector_bytes), request.fixed.kv_tokens,
      format_bytes(request.fixed.kv_bytes), format_bytes(request.fixed.activation_bytes));
  if (request.fixed.uva_bytes > 0) {
    parts += fmt::format(", and {} for cuBLASLt", format_bytes(request.fixed.uva_bytes));
  }
  if (const int64_t buffers = smallest - request.fixed.total_bytes(); buffers > 0) {
    parts += fmt::format(", and {} of prefetch buffers", format_bytes(buffers));
  }
  throw Error(
      ErrorCode::kResourceExhausted,
      {.where = std::string(kBudgetFlag),
       .field = {},
       .value = format_bytes(budget),
       .problem = "is too small: " + parts,
       .fix = fmt::format("use at least {} {}B or a smaller --context", kBudgetFlag, smallest)});
}

void throw_remote_too_small(int64_t missing_bytes, int64_t smallest_budget_bytes) {
  throw Error(
      ErrorCode::kResourceExhausted,
      {.where = "remote tiers",
       .field = {},
       .value = {},
       .problem = fmt::format("are {} too small for this model", format_bytes(missing_bytes)),
       .fix = fmt::format("use at least {} {}B, or raise --host-budget or the sizes in --tiers",
                          kBudgetFlag, smallest_budget_bytes)});
}

void check_remote_room(const Plan& plan, int64_t missing_bytes, int64_t unit_bytes) {
  if (missing_bytes == 0) return;
  throw_remote_too_small(missing_bytes, plan.bytes_in(0) + missing_bytes + unit_bytes);
}

}  // namespace dak
