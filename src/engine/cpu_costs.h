// What small operations of the CPU backend cost on this machine: the constants of its cost model.
#pragma once

#include "base/thread_pool.h"
#include "hardware/profile.h"

namespace dak {

// FLOP/s of the backend's own matmul on a weight that stays in cache: the best that it reaches
// within `seconds`.
double measure_cpu_peak(ThreadPool& pool, DType dtype, double seconds);

// Runs the backend's own products, attention, norms and choice of a token on small and large
// shapes. `read_bytes_per_s`: what a read loop reaches on this machine. Takes about 0.3 s and
// 160 MiB.
CpuCosts measure_cpu_costs(ThreadPool& pool, double read_bytes_per_s);

}  // namespace dak
