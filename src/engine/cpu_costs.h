// What small operations of the CPU backend cost on this machine: the constants of its cost model.
#pragma once

#include "base/thread_pool.h"
#include "hardware/profile.h"

namespace dak {

// FLOP/s of the backend's own matmul on a weight that stays in cache: the best that it reaches
// within `seconds`.
double measure_cpu_peak(ThreadPool& pool, DType dtype, double seconds);

// Runs the backend's own products, attention, norms and choice of a token on small and large
// shapes, and a read loop beside them. Takes about 0.3 s, and
// twice the last-level cache, 64 to 640 MiB, but no more than an eighth of the available memory or,
// where that is less, 32 MiB.
CpuCosts measure_cpu_costs(ThreadPool& pool);

}  // namespace dak
