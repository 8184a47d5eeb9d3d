#include "engine/model_costs.h"

#include <algorithm>

#include "pass/names.h"

namespace dak {
namespace {

constexpr double kAssumedLaunchUs = 5;

// Steps as operations of the cost model.
class Operations {
 public:
  Operations(const Program& program, const std::vector<Operand>& operands, DType kv_dtype,
             const FixedMemory& fixed)
      : program_(program),
        operands_(operands),
        kv_dtype_(kv_dtype),
        fixed_(fixed),
        layers_(program.attention_layers()) {}

  std::vector<Operation> all() {
    operations_.push_back({.name = std::string(kPassKind), .kind = OperationKind::kPass});
    for (const Step& step : program_.steps) add(step);
    return std::move(operations_);
  }

 private:
  void add(const Step& step) {
    switch (step.kind) {
      case StepKind::kLookup:
        return add_with_matrix(step, OperationKind::kLookup);
      case StepKind::kProduct:
        return add_with_matrix(step, OperationKind::kMatmul);
      case StepKind::kAttention:
        operations_.push_back(attention_of(step));
        operations_.push_back(norms_of(step.layer));
        return;
      case StepKind::kNorm:    // those of a layer are one operation, behind its attention
      case StepKind::kHeads:   // timed and measured with attention
      case StepKind::kGather:  // of what a pass does once
        return;
    }
  }

  // Operations on one matrix stand together, as plans and reports list it.
  void add_with_matrix(const Step& step, OperationKind kind) {
    const auto operand = static_cast<int64_t>(step.matrix.index);
    const Operand& read = operands_.at(static_cast<size_t>(operand));
    Operation operation{.name = read.kind,
                        .kind = kind,
                        .operand = operand,
                        .size_bytes = read.size_bytes(),
                        .rows = read.rows,
                        .cols = read.cols,
                        .for_logits = step.for_logits};
    const auto like = std::find_if(operations_.rbegin(), operations_.rend(),
                                   [&](const Operation& o) { return o.operand == operand; });
    operations_.insert(like == operations_.rend() ? operations_.end() : like.base(),
                       std::move(operation));
  }

  Operation attention_of(const Step& step) const {
    Operation operation{.name = std::string(kAttentionKind),
                        .kind = OperationKind::kAttention,
                        .size_bytes = (fixed_.kv_bytes + fixed_.kv_all_remote_bytes()) / layers_,
                        .remote_bytes = fixed_.kv_remote_bytes,
                        .kv_token_bytes = bytes_of(kv_dtype_, step.attention.kv_values),
                        .query_values = step.attention.query_values,
                        .kv_heads = step.attention.kv_heads,
                        .window = step.attention.window};
    for (int64_t& bytes : operation.remote_bytes) bytes /= layers_;
    const size_t cache = program_.matrices.size() + static_cast<size_t>(step.layer);
    if (cache >= operands_.size()) return operation;
    operation.operand = static_cast<int64_t>(cache);
    operation.size_bytes = operands_[cache].size_bytes();
    return operation;
  }

  Operation norms_of(int64_t layer) const {
    Operation operation{.name = std::string(kNormsKind), .kind = OperationKind::kNorms};
    for (const Step& step : program_.steps) {
      if (step.kind != StepKind::kNorm || step.layer != layer) continue;
      operation.cols = step.cols;
      operation.norms += 1;
    }
    return operation;
  }

  const Program& program_;
  const std::vector<Operand>& operands_;
  DType kv_dtype_;
  const FixedMemory& fixed_;
  int64_t layers_;
  std::vector<Operation> operations_;
};

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
  if (a.operand < 0) return false;
  Operation renamed = a;
  renamed.name = b.name;
  renamed.operand = b.operand;
  return renamed == b;
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

std::vector<Operation> operations_of(const Program& program, const std::vector<Operand>& operands,
                                     DType kv_dtype, const FixedMemory& fixed) {
  return Operations(program, operands, kv_dtype, fixed).all();
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
