// The numbers of memory/random_values.h, made by a GPU: same bits as fill_random_cpu.
#pragma once

#include <cuda_runtime_api.h>

#include "memory/random_values.h"

namespace dak {

// Enqueues it. `out` is any memory that the current device writes: its own or pinned host memory,
// aligned to its elements.
void random_fill(void* out, const RandomValues& values, cudaStream_t stream);

}  // namespace dak
