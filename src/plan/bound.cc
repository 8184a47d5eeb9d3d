#include "plan/bound.h"

#include <algorithm>
#include <map>
#include <string>

namespace dak {

double bound_seconds(const std::vector<Tier>& tiers, const TierTraffic& traffic,
                     std::string* bottleneck) {
  std::map<std::string, double> seconds;
  for (size_t i = 0; i < tiers.size(); ++i) {
    if (tiers[i].read_bytes_per_s <= 0) continue;
    seconds[tiers[i].channel] +=
        static_cast<double>(traffic.read_bytes[i]) / tiers[i].read_bytes_per_s;
  }
  if (seconds.empty()) return 0;
  const auto slowest =
      std::max_element(seconds.begin(), seconds.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  if (bottleneck != nullptr) *bottleneck = slowest->first;
  return slowest->second;
}

TierTraffic decode_weight_traffic(const Plan& plan, int64_t batch) {
  TierTraffic traffic;
  for (const OperandPlan& entry : plan.operands) {
    const Operand& operand = entry.operand;
    if (operand.use == OperandUse::kLookup) {
      // Which rows are looked up is not known before the run: spread over the tiers as the rows
      // are.
      const int64_t row_bytes = bytes_of(operand.dtype, operand.cols);
      int64_t remote = 0;
      for (const TierSpan& span : entry.spans) {
        if (span.tier == 0) continue;
        const double share =
            static_cast<double>(span.blocks) / static_cast<double>(operand.blocks());
        const auto bytes = static_cast<int64_t>(static_cast<double>(batch * row_bytes) * share);
        traffic.add(span.tier, bytes);
        remote += bytes;
      }
      traffic.add(0, batch * row_bytes - remote);
      continue;
    }
    for (const TierSpan& span : entry.spans) {
      traffic.add(span.tier, span.blocks * operand.block_bytes());
    }
  }
  return traffic;
}

int64_t remote_weight_bytes(const Program& program, const Plan& plan, int64_t passes) {
  int64_t bytes = 0;
  for (const Step& step : program.steps) {
    if (step.kind != StepKind::kProduct) continue;
    const OperandPlan& entry = plan.operands.at(static_cast<size_t>(step.matrix.index));
    for (const TierSpan& span : entry.spans) {
      if (span.tier == 0) continue;
      bytes += (step.for_logits ? 1 : passes) * span.blocks * entry.operand.block_bytes();
    }
  }
  return bytes;
}

}  // namespace dak
