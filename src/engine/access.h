// Gives the CUDA backend what the plan's access mode needs beside the weights.
#pragma once

#include "model/weights.h"
#include "ops/cuda_backend.h"
#include "plan/plan.h"

namespace dak {

// Once, after loading and before the first operation: allocates the plan's prefetch buffers or
// cuBLASLt's memory in tier 0. Nothing for modes that have neither.
void prepare_access(const Plan& plan, Weights& weights, CudaBackend& backend);

}  // namespace dak
