// From stored tensors to row blocks in their tiers, streamed: a row block at a time passes through
// a small buffer, so that the model is never in memory twice.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/progress.h"
#include "base/thread_pool.h"
#include "format/checkpoint.h"
#include "model/weights.h"
#include "pass/program.h"
#include "plan/plan.h"

namespace dak {

struct LoadOptions {
  bool check_finite = false;  // refuse NaN and infinity, naming tensor and row
  ProgressFn progress;        // may be empty
};

// The type a matrix is held as when nothing else is asked for: as stored; bf16 where any of its
// parts is quantised; f32 where parts of different plain types make one matrix.
DType held_dtype(std::span<const DType> parts);

// What the planner needs to know of the weights, before anything is loaded: an operand for each
// matrix, in their order. What they are in the file comes from `checkpoint`, or without one
// (config.json alone) is taken to be `stored`. Matrices will be held as `dtype`, by default as
// held_dtype says.
std::vector<Operand> operands_of(const Program& program, std::optional<DType> dtype, DType stored,
                                 const Checkpoint* checkpoint);

// Bytes of norms and biases in tier 0, with the arena's rounding.
int64_t vector_bytes_of(const Program& program);

// nullptr: not there. Some checkpoints (older OPT ones) were saved without the outermost "model."
// scope of `name`.
const StoredTensor* find_tensor(const Checkpoint& checkpoint, std::string_view name);

// Checks that every tensor that is declared is there with the shape they expect and of a type that
// dak reads; throws kNotFound, kCorrupt or kUnsupported naming file, tensor and both shapes or the
// type. Cheap: nothing is read.
void check_checkpoint(const Program& program, const Checkpoint& checkpoint, std::string_view where);

// What every source of weights shares. Room for a matrix as the plan places it, and for a vector in
// tier 0, known to `weights` from then on; its bytes are still to come.
const TieredTensor& place_matrix(const Program& program, MatrixId id, const Plan& plan,
                                 Weights& weights);
std::byte* place_vector(const Program& program, VectorId id, Weights& weights);
// Of all of them, for progress; norms and biases without the arena's rounding.
int64_t bytes_to_load(const Program& program, const Plan& plan);

// Loads everything into `weights`' arenas as `plan` says.
void load_weights(const Program& program, const Checkpoint& checkpoint, const Plan& plan,
                  ThreadPool& pool, const LoadOptions& options, Weights& weights);

}  // namespace dak
