// Parameters and launch of the split matmul with plain loads; no device code, so that host code can
// include it.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "kernels/link_state.h"
#include "kernels/split_epilogue.h"
#include "kernels/split_schedule.h"

namespace dak {

struct PlainSplitMatmulParams {
  const std::byte* x;     // [batch, cols] of the weight's dtype, 16-byte aligned
  int64_t x_stride;       // elements between rows, a multiple of 8
  const WorkItem* items;  // [>= gridDim.x]
  LinkState* links;       // [kMaxTiers]; only read_bytes is kept
  float* partials;        // [slots, 64 * kBatch] in fragment order
  uint32_t* arrivals;     // [row blocks], zero between launches
  int32_t cols;           // of the weight, without padding
  int32_t chunks;         // of 64 columns
  int32_t slice_chunks;
  SplitEpilogue epilogue;
};

// Enqueues the kernel for `batch_tile` 8, 16, 32 or 64.
void launch_plain_split_matmul(const PlainSplitMatmulParams& params, DType dtype, int batch_tile,
                               int blocks, bool overlap_previous, cudaStream_t stream);

}  // namespace dak
