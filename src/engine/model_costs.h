// A model's forward pass as operations of the cost model, and what each operand contributes to a
// workload's time.
#pragma once

#include <vector>

#include "model/config.h"
#include "plan/cost.h"
#include "plan/greedy.h"
#include "plan/workload.h"

namespace dak {

// In the order in which a pass runs them. `operands` as planned: weights, then one OperandUse::kKv
// for each layer if the cache is planned too. `fixed`: where the cache lies if it is not.
std::vector<Operation> operations_of(const ModelConfig& config,
                                     const std::vector<Operand>& operands, DType kv_dtype,
                                     const FixedMemory& fixed);

// For each operand its share of the workload's mean seconds a token.
std::vector<std::vector<PlacedItem::Term>> operand_costs(const std::vector<Operation>& operations,
                                                         size_t operands, const Workload& workload,
                                                         int64_t prefill_chunk,
                                                         const Machine& machine);

// What is known of a machine beyond its tiers when nothing was probed: nothing.
HardwareProfile profile_of_tiers(const std::vector<Tier>& tiers, bool cuda);

}  // namespace dak
