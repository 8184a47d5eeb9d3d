// The kernels that mode uva needs beside cuBLASLt; no device code, so that host code can include
// it.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "base/activation.h"
#include "base/dtype.h"

namespace dak::cuda {

// out = activation(sums + bias) (+ out), or, gated, activation(gate) * up (+ out).
struct UvaEpilogueParams {
  const float* sums;  // [m, rows]
  const float* bias;  // [rows] or null; null if gated
  void* out;          // [m, rows], or [m, rows / 2] if gated, of out_dtype
  int64_t m;
  int64_t rows;
  Element out_dtype;
  Activation activation;
  bool gated;  // rows alternate 8 of gate, 8 of up (memory/weight_layout.h)
  bool add_to_output;
};
void launch_uva_epilogue(const UvaEpilogueParams& params, cudaStream_t stream);

// out[i, :] (+)= row ids[i] + offset of a row-major table.
struct RowMajorEmbeddingParams {
  const int32_t* ids;      // [m]
  const std::byte* table;  // [.., cols] of `dtype`
  float* out;              // [m, cols]
  int64_t m;
  int64_t cols;
  int32_t offset;
  Element dtype;
  bool add;
};
void launch_row_major_embedding(const RowMajorEmbeddingParams& params, cudaStream_t stream);

}  // namespace dak::cuda
