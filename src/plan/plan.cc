#include "plan/plan.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.h"
#include "memory/weight_layout.h"

namespace dak {

std::string_view name(OperandUse use) {
  switch (use) {
    case OperandUse::kMatmul:
      return "matmul";
    case OperandUse::kLookup:
      return "lookup";
    case OperandUse::kKv:
      return "kv";
  }
  return "unknown";
}

int64_t Operand::blocks() const { return row_blocks_of(rows); }
int64_t Operand::block_bytes() const { return row_block_bytes(cols, dtype); }

int64_t OperandPlan::bytes_in(TierIndex tier) const {
  int64_t blocks = 0;
  for (const TierSpan& span : spans) {
    if (span.tier == tier) blocks += span.blocks;
  }
  return blocks * operand.block_bytes();
}

double OperandPlan::offload_ratio() const {
  const int64_t total = operand.size_bytes();
  return total == 0 ? 0 : 1.0 - static_cast<double>(bytes_in(0)) / static_cast<double>(total);
}

TierIndex OperandPlan::tier_of(int64_t block) const {
  for (const TierSpan& span : spans) {
    if (block >= span.first_block && block < span.first_block + span.blocks) return span.tier;
  }
  require(false, "row block outside its operand's plan");
  return 0;
}

int64_t PrefetchPlan::total_bytes() const {
  return std::accumulate(buffer_bytes.begin(), buffer_bytes.end(), int64_t{0});
}

int64_t Plan::weight_bytes() const {
  int64_t total = 0;
  for (const OperandPlan& plan : operands) total += plan.operand.size_bytes();
  return total;
}

int64_t Plan::weight_bytes_in(TierIndex tier) const {
  int64_t total = 0;
  for (const OperandPlan& plan : operands) total += plan.bytes_in(tier);
  return total;
}

int64_t Plan::bytes_in(TierIndex tier) const {
  return weight_bytes_in(tier) + (tier == 0 ? fixed.total_bytes() : fixed.kv_remote_bytes.at(tier));
}

double Plan::offload_ratio() const {
  const int64_t total = weight_bytes();
  return total == 0 ? 0
                    : 1.0 - static_cast<double>(weight_bytes_in(0)) / static_cast<double>(total);
}

const OperandPlan& Plan::operand(std::string_view name) const {
  const auto found =
      std::find_if(operands.begin(), operands.end(),
                   [name](const OperandPlan& plan) { return plan.operand.name == name; });
  require(found != operands.end(), fmt::format("no operand {} in the plan", name));
  return *found;
}

void to_json(nlohmann::json& json, const Plan& plan) {
  json = {{"model", plan.model},
          {"policy", plan.policy},
          {"reason", plan.reason},
          {"offload_ratio", plan.offload_ratio()},
          {"weight_bytes", plan.weight_bytes()},
          {"fixed",
           {{"vector_bytes", plan.fixed.vector_bytes},
            {"kv_bytes", plan.fixed.kv_bytes},
            {"kv_remote_bytes", plan.fixed.kv_all_remote_bytes()},
            {"kv_tokens", plan.fixed.kv_tokens},
            {"prefill_chunk", plan.fixed.prefill_chunk},
            {"activation_bytes", plan.fixed.activation_bytes},
            {"prefetch_bytes", plan.fixed.prefetch_bytes},
            {"kv_buffer_bytes", plan.fixed.kv_buffer_bytes},
            {"uva_bytes", plan.fixed.uva_bytes},
            {"backend_bytes", plan.fixed.backend_bytes}}},
          {"tiers", nlohmann::json::array()},
          {"operands", nlohmann::json::array()}};
  for (size_t i = 0; i < plan.tiers.size(); ++i) {
    const Tier& tier = plan.tiers[i];
    json["tiers"].push_back(
        {{"name", tier.name},
         {"kind", name(tier.kind)},
         {"channel", tier.channel},
         {"capacity_bytes", tier.capacity_bytes},
         {"read_bytes_per_s", tier.read_bytes_per_s},
         {"weight_bytes", plan.weight_bytes_in(static_cast<TierIndex>(i))},
         {"kv_bytes", i == 0 ? plan.fixed.kv_bytes : plan.fixed.kv_remote_bytes[i]},
         {"bytes", plan.bytes_in(static_cast<TierIndex>(i))}});
  }
  for (const OperandPlan& entry : plan.operands) {
    const Operand& operand = entry.operand;
    nlohmann::json spans = nlohmann::json::array();
    for (const TierSpan& span : entry.spans) {
      spans.push_back({{"tier", plan.tiers[span.tier].name},
                       {"first_block", span.first_block},
                       {"blocks", span.blocks}});
    }
    json["operands"].push_back(
        {{"name", operand.name},
         {"use", name(operand.use)},
         {"rows", operand.rows},
         {"cols", operand.cols},
         {"dtype", name(operand.dtype)},
         {"stored", name(operand.stored)},
         {"layout", operand.layout == WeightLayout::kPacked ? "packed" : "row-major"},
         {"bytes", operand.size_bytes()},
         {"offload_ratio", entry.offload_ratio()},
         {"spans", spans}});
  }
}

}  // namespace dak
