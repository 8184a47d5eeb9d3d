// From stored tensors to row blocks in their tiers, streamed: a row block at a time passes through
// a small buffer, so that the model is never in memory twice.
#pragma once

#include <memory>
#include <vector>

#include "base/progress.h"
#include "base/thread_pool.h"
#include "format/checkpoint.h"
#include "model/weights.h"
#include "plan/plan.h"

namespace dak {

struct LoadOptions {
  bool check_finite = false;  // refuse NaN and infinity, naming tensor and row
  ProgressFn progress;        // may be empty
};

// What the planner needs to know of the weights, before anything is loaded. `dtype` is what
// matrices will be held as. What they are in the file comes from `checkpoint`, or without one
// (config.json alone) is taken to be `stored`.
std::vector<Operand> operands_of(const WeightSpecs& specs, DType dtype, DType stored,
                                 const Checkpoint* checkpoint);

// Bytes of norms and biases in tier 0, with the arena's rounding.
int64_t vector_bytes_of(const WeightSpecs& specs);

// Checks that every tensor the specs name is there with the shape they expect; throws kNotFound or
// kCorrupt naming file, tensor and both shapes. Cheap: nothing is read.
void check_checkpoint(const WeightSpecs& specs, const Checkpoint& checkpoint,
                      std::string_view where);

// Loads everything into `weights`' arenas as `plan` says.
void load_weights(const WeightSpecs& specs, const Checkpoint& checkpoint, const Plan& plan,
                  ThreadPool& pool, const LoadOptions& options, Weights& weights);

}  // namespace dak
