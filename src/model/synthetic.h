// Weights from a seeded generator, for measurements: a configuration is enough, and a model of any
// size loads as fast as its memory can be written.
#pragma once

#include <cstdint>

#include "base/progress.h"
#include "base/thread_pool.h"
#include "model/weights.h"
#include "pass/program.h"
#include "plan/plan.h"

namespace dak {

// Fills everything that `program` declares, where `plan` puts it. A value depends on the seed, the
// tensor's name and its place in the tensor's layout: never on placement, backend or threads.
// Matrices have a variance of 1 / cols, so that activations keep their size; norms are 1 +- 0.1,
// biases +- 0.02; padding is zero.
void load_synthetic(const Program& program, const Plan& plan, uint64_t seed, ThreadPool& pool,
                    const ProgressFn& progress, Weights& weights);

}  // namespace dak
