// Parameters and launch of the Hopper split matmul; no device code, so that host code can include
// it.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "base/dtype.h"
#include "kernels/link_state.h"
#include "kernels/split_schedule.h"
#include "ops/activation.h"

namespace dak {

struct SplitEpilogue {
  void* out;             // [batch, outputs] out_dtype; outputs = rows, or rows / 2 if gated
  const void* residual;  // [batch, outputs] out_dtype, added last; may be `out`; or null
  const float* bias;     // [rows], added first; or null
  int64_t out_stride;    // elements between rows of out and of residual
  int32_t rows;
  int32_t batch;
  DType out_dtype;  // f32, bf16 or f16
  Activation activation;
  // Rows alternate 8 of gate, 8 of up (gated_source_row in ops/matmul.h): a thread holds both
  // factors, because fragment rows r and r + 8 are its own.
  bool gated;
};

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
