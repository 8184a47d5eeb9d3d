#include "engine/model_costs.h"

#include <algorithm>

#include "engine/kv_cache.h"

namespace dak {
namespace {

constexpr std::string_view kLayers = "layers.";
constexpr double kAssumedLaunchUs = 5;

// Of "layers.7.qkv": 7; -1 for other names.
int64_t layer_of(std::string_view name) {
  if (!name.starts_with(kLayers)) return -1;
  return std::stoll(std::string(name.substr(kLayers.size())));
}

Operation attention_of(const ModelConfig& config, int64_t layer, DType kv_dtype,
                       const FixedMemory& fixed) {
  TierBytes remote = fixed.kv_remote_bytes;
  for (int64_t& bytes : remote) bytes /= config.layers;
  return {.name = fmt::format("layers.{}.attention", layer),
          .kind = OperationKind::kAttention,
          .size_bytes = (fixed.kv_bytes + fixed.kv_all_remote_bytes()) / config.layers,
          .remote_bytes = remote,
          .kv_token_bytes = bytes_of(kv_dtype, 2 * config.kv_rows()),
          .query_values = config.q_rows(),
          .kv_heads = config.kv_heads,
          .window = config.window_of_layer(layer)};
}

void add_term(std::vector<PlacedItem::Term>& terms, double weight, OperationCost cost) {
  for (PlacedItem::Term& term : terms) {
    if (term.cost != cost) continue;
    term.weight += weight;
    return;
  }
  terms.push_back({.weight = weight, .cost = std::move(cost)});
}

// Whether two operations cost the same wherever the same bytes of them lie.
bool alike(const Operation& a, const Operation& b) {
  return a.kind == b.kind && a.operand >= 0 && a.size_bytes == b.size_bytes && a.rows == b.rows &&
         a.cols == b.cols && a.for_logits == b.for_logits && a.kv_token_bytes == b.kv_token_bytes &&
         a.query_values == b.query_values && a.kv_heads == b.kv_heads && a.window == b.window;
}

std::vector<PlacedItem::Term> terms_of(const Operation& operation, const Workload& workload,
                                       int64_t prefill_chunk, const Machine& machine) {
  std::vector<PlacedItem::Term> terms;
  for (const WorkloadEntry& entry : workload) {
    const int64_t tokens = entry.phase == Phase::kDecode ? entry.batch : entry.tokens;
    const double weight = entry.share / static_cast<double>(tokens);
    for (const CountedPass& counted : passes_of(entry, prefill_chunk)) {
      add_term(terms, weight * counted.count, cost_of(operation, counted.pass, machine));
    }
  }
  return terms;
}

}  // namespace

std::vector<Operation> operations_of(const ModelConfig& config,
                                     const std::vector<Operand>& operands, DType kv_dtype,
                                     const FixedMemory& fixed) {
  std::vector<int64_t> cache(static_cast<size_t>(config.layers), -1);  // operand of each layer
  for (size_t i = 0; i < operands.size(); ++i) {
    if (operands[i].use != OperandUse::kKv) continue;
    cache.at(static_cast<size_t>(layer_of(operands[i].name))) = static_cast<int64_t>(i);
  }
  std::vector<Operation> operations{{.name = "pass", .kind = OperationKind::kPass}};
  for (size_t i = 0; i < operands.size(); ++i) {
    const Operand& operand = operands[i];
    if (operand.use == OperandUse::kKv) continue;
    Operation operation{.name = operand.name,
                        .kind = OperationKind::kLookup,
                        .operand = static_cast<int64_t>(i),
                        .size_bytes = operand.size_bytes(),
                        .rows = operand.rows,
                        .cols = operand.cols};
    const bool logits = operand.name == logits_weight(config);
    if (operand.use == OperandUse::kLookup || logits) {
      if (operand.use == OperandUse::kLookup || config.tied_embeddings) {
        operations.push_back(operation);
      }
    }
    if (operand.use != OperandUse::kMatmul) continue;
    operation.kind = OperationKind::kMatmul;
    operation.for_logits = logits;
    operations.push_back(operation);
    if (!operand.name.ends_with(".qkv")) continue;
    const int64_t layer = layer_of(operand.name);
    operations.push_back(attention_of(config, layer, kv_dtype, fixed));
    const int64_t kv = cache.at(static_cast<size_t>(layer));
    operations.back().operand = kv;
    if (kv >= 0) operations.back().size_bytes = operands[static_cast<size_t>(kv)].size_bytes();
    operations.push_back({.name = fmt::format("layers.{}.norms", layer),
                          .kind = OperationKind::kNorms,
                          .cols = config.hidden});
  }
  return operations;
}

std::vector<std::vector<PlacedItem::Term>> operand_costs(const std::vector<Operation>& operations,
                                                         size_t operands, const Workload& workload,
                                                         int64_t prefill_chunk,
                                                         const Machine& machine) {
  std::vector<std::vector<PlacedItem::Term>> costs(operands);
  std::vector<std::vector<PlacedItem::Term>> by_operation(operations.size());
  for (size_t i = 0; i < operations.size(); ++i) {
    const Operation& operation = operations[i];
    if (operation.operand < 0) continue;
    // The layers are mostly alike.
    size_t like = 0;
    while (!alike(operations[like], operation)) ++like;
    std::vector<PlacedItem::Term>& terms = by_operation[like];
    if (like == i) terms = terms_of(operation, workload, prefill_chunk, machine);
    std::vector<PlacedItem::Term>& all = costs[static_cast<size_t>(operation.operand)];
    if (all.empty()) {
      all = terms;
    } else {
      for (const PlacedItem::Term& term : terms) add_term(all, term.weight, term.cost);
    }
  }
  return costs;
}

HardwareProfile profile_of_tiers(const std::vector<Tier>& tiers, bool cuda) {
  HardwareProfile profile{.name = "not probed",
                          .device = cuda ? "cuda" : "cpu",
                          .processor = {},
                          .uuid = {},
                          .driver = {},
                          .compute_capability = {},
                          .sm_count = std::nullopt,
                          .sources = {"bandwidths: measured now"},
                          .peak_flops_per_s = {},
                          .launch_overhead_us = kAssumedLaunchUs,
                          .tiers = {}};
  for (const Tier& tier : tiers) {
    profile.tiers.push_back({.name = tier.name,
                             .kind = tier.kind,
                             .node = tier.node,
                             .channel = tier.channel,
                             .capacity_bytes = tier.capacity_bytes,
                             .read_bytes_per_s = tier.read_bytes_per_s});
  }
  return profile;
}

}  // namespace dak
