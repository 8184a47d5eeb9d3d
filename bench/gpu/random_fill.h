// Random weights made where they are needed: uniform in [-1, 1), from a counter-based hash.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "base/dtype.h"

namespace dak {

// `count` values of bf16 or f16 at device address `out`.
void random_fill(void* out, int64_t count, DType dtype, uint32_t seed, cudaStream_t stream);

}  // namespace dak
