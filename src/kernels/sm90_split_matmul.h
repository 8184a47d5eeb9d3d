// Parameters and launch of the Hopper split matmul; no device code, so that host code can include
// it.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "base/dtype.h"
#include "kernels/link_state.h"
#include "kernels/split_epilogue.h"
#include "kernels/split_schedule.h"

namespace dak {

struct SplitMatmulParams {
  CUtensorMap x_map;      // x [batch, k], boxes of [kBatch, 64], 128-byte swizzle
  const WorkItem* items;  // [>= gridDim.x]
  LinkState* links;       // [kMaxTiers]
  float* partials;        // [slots, 64 * kBatch] in fragment order
  uint32_t* arrivals;     // [row blocks], zero between launches
  int32_t chunks;         // of 64 columns
  int32_t slice_chunks;
  int32_t reader_begin[kMaxTiers];
  int32_t reader_end[kMaxTiers];
  SplitEpilogue epilogue;
};

// Enqueues the kernel for `batch_tile` 8, 16, 32 or 64.
void launch_sm90_split_matmul(const SplitMatmulParams& params, DType dtype, int batch_tile,
                              int blocks, bool overlap_previous, cudaStream_t stream);

}  // namespace dak
