// Gives the CUDA backend what the plan's access mode needs beside the weights.
#pragma once

#include <array>

#include "engine/kv_cache.h"
#include "model/weights.h"
#include "ops/cuda_backend.h"
#include "pass/program.h"
#include "plan/plan.h"

namespace dak {

// Mode prefetch: the two buffers that layers in turn copy their remote KV pages to, as large as the
// most that such a layer has of them.
std::array<int64_t, 2> kv_buffer_bytes(const ModelConfig& config, DType dtype, const KvRoom& room);

// Once, after loading and before the first operation: allocates the plan's prefetch buffers or
// cuBLASLt's memory in tier 0. Nothing for modes that have neither.
void prepare_access(const Program& program, const Plan& plan, const KvCache& cache,
                    Weights& weights, CudaBackend& backend);

}  // namespace dak
