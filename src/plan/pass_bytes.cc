#include "plan/pass_bytes.h"

#include <numeric>

namespace dak {

TierBytes placed_bytes(const OperandPlan& entry) {
  TierBytes bytes{};
  for (const TierSpan& span : entry.spans) {
    bytes[span.tier] += span.blocks * entry.operand.block_bytes();
  }
  return bytes;
}

TierTraffic decode_weight_traffic(const Plan& plan, int64_t batch) {
  TierTraffic traffic;
  for (const OperandPlan& entry : plan.operands) {
    const Operand& operand = entry.operand;
    const TierBytes placed = placed_bytes(entry);
    if (operand.use != OperandUse::kLookup) {
      for (size_t t = 0; t < placed.size(); ++t) traffic.add(static_cast<TierIndex>(t), placed[t]);
      continue;
    }
    // Which rows are looked up is not known before the run: spread over the tiers as the rows are.
    const int64_t rows_bytes = batch * bytes_of(operand.dtype, operand.cols);
    int64_t remote = 0;
    for (const TierSpan& span : entry.spans) {
      if (span.tier == 0) continue;
      const double share = static_cast<double>(span.blocks) / static_cast<double>(operand.blocks());
      const auto bytes = static_cast<int64_t>(static_cast<double>(rows_bytes) * share);
      traffic.add(span.tier, bytes);
      remote += bytes;
    }
    traffic.add(0, rows_bytes - remote);
  }
  return traffic;
}

int64_t remote_weight_bytes(const Program& program, const Plan& plan, int64_t passes) {
  int64_t bytes = 0;
  for (const Step& step : program.steps) {
    if (step.kind != StepKind::kProduct) continue;
    const TierBytes placed = placed_bytes(plan.operands.at(static_cast<size_t>(step.matrix.index)));
    const int64_t times = step.for_logits ? 1 : passes;
    bytes += times * std::accumulate(placed.begin() + 1, placed.end(), int64_t{0});
  }
  return bytes;
}

}  // namespace dak
