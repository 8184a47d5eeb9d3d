// A model's forward pass as operations of the cost model, and what each operand contributes to a
// workload's time.
#pragma once

#include <vector>

#include "pass/program.h"
#include "plan/cost.h"
#include "plan/greedy.h"
#include "plan/workload.h"

namespace dak {

// In the order in which a pass runs them, but for operations on one matrix, which stand together.
// `operands` as planned: the program's matrices, then, if the cache is planned too, one
// OperandUse::kKv for each layer in order. `fixed`: where the cache lies if it is not.
std::vector<Operation> operations_of(const Program& program, const std::vector<Operand>& operands,
                                     DType kv_dtype, const FixedMemory& fixed);

// For each operand its share of the workload's mean seconds a token.
std::vector<std::vector<PlacedItem::Term>> operand_costs(const std::vector<Operation>& operations,
                                                         size_t operands, const Workload& workload,
                                                         int64_t prefill_chunk,
                                                         const Machine& machine);

// What is known of a machine beyond its tiers when nothing was probed: nothing.
HardwareProfile profile_of_tiers(const std::vector<Tier>& tiers, bool cuda);

}  // namespace dak
