#include "kernels/begin.cuh"
#include "kernels/element.cuh"
#include "kernels/launch.h"
#include "kernels/sm90_split_epilogue.cuh"
#include "ops/cuda/uva_kernels.h"

namespace dak::cuda {
namespace {

constexpr int kThreads = 256;

// A thread block a row of x and kThreads outputs.
__global__ void uva_epilogue_kernel(const __grid_constant__ UvaEpilogueParams p) {
  begin_dependent();
  const int64_t outputs = p.gated ? p.rows / 2 : p.rows;
  const int64_t blocks = (outputs + kThreads - 1) / kThreads;
  const int64_t row = blockIdx.x / blocks;
  const int64_t col = blockIdx.x % blocks * kThreads + threadIdx.x;
  if (col >= outputs) return;
  const float* sums = p.sums + row * p.rows;
  float value;
  if (p.gated) {
    const int64_t gate = col / 8 * 16 + col % 8;
    value = activate(p.activation, sums[gate]) * sums[gate + 8];
  } else {
    value = activate(p.activation, sums[col] + (p.bias != nullptr ? p.bias[col] : 0.0f));
  }
  const int64_t index = row * outputs + col;
  if (p.add_to_output) value += load_element(p.out, index, p.out_dtype);
  store_element(p.out, index, p.out_dtype, value);
}

__global__ void row_major_embedding_kernel(const __grid_constant__ RowMajorEmbeddingParams p) {
  begin_dependent();
  const int64_t row = int64_t{p.ids[blockIdx.x]} + p.offset;
  float* out = p.out + blockIdx.x * p.cols;
  for (int64_t col = threadIdx.x; col < p.cols; col += kThreads) {
    const float value = load_element(p.table, row * p.cols + col, p.dtype);
    out[col] = p.add ? out[col] + value : value;
  }
}

}  // namespace

void launch_uva_epilogue(const UvaEpilogueParams& params, cudaStream_t stream) {
  const int64_t outputs = params.gated ? params.rows / 2 : params.rows;
  launch(uva_epilogue_kernel, params,
         {.blocks = static_cast<int>(params.m * ((outputs + kThreads - 1) / kThreads)),
          .threads = kThreads,
          .overlap_previous = true},
         stream);
}

void launch_row_major_embedding(const RowMajorEmbeddingParams& params, cudaStream_t stream) {
  if (params.m == 0) return;
  launch(row_major_embedding_kernel, params,
         {.blocks = static_cast<int>(params.m), .threads = kThreads, .overlap_previous = true},
         stream);
}

}  // namespace dak::cuda
