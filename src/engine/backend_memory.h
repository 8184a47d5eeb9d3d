// What the CUDA backend takes of a GPU beside what the plan's arenas hold, known before anything is
// loaded, so that it can be inside the budget.
#pragma once

#include <cstdint>
#include <vector>

#include "model/config.h"
#include "pass/program.h"
#include "plan/plan.h"

namespace dak {

struct BackendNeeds {
  int64_t rows = 0;         // of the largest batch
  int64_t sequences = 0;    // decoded side by side
  int64_t context = 0;      // tokens of each
  bool remote_kv = false;   // some KV pages are not local
  bool prefetches = false;  // remote weights are copied ahead
  bool stages_kv = false;   // and are copied ahead: tables of where to
};

// Never less than what is allocated, whatever the placement: schedules and partial sums of the
// split matmul, rings of remote row blocks and KV pages, pieces and states of attention, tables of
// row blocks and pages, graphs. The CUDA context itself is not dak's and comes on top.
int64_t cuda_backend_bytes(const ModelConfig& config, const Program& program,
                           const std::vector<Operand>& operands, const BackendNeeds& needs);

// Its part for the weights alone.
struct SplitMemory {
  int64_t schedule_bytes = 0;  // of all weights, kept
  int64_t partial_bytes = 0;   // of the largest, shared
};
SplitMemory split_matmul_memory(const std::vector<Operand>& operands);

// The part of attention with many rows a sequence: sums between units, a ring of remote pages,
// counters, and the tables of all layers.
int64_t prefill_attention_bytes(const ModelConfig& config, const BackendNeeds& needs);

// The part of products with more rows: schedules of all weights, rings (of `ring_bytes` each, or
// more for wide weights) and counters.
int64_t gemm_memory_bytes(const std::vector<Operand>& operands, int64_t ring_bytes);

}  // namespace dak
