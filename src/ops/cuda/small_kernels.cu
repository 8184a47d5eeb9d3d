// Everything of a forward pass that is neither a matmul nor attention. These move little: what
// counts is that they are right, and few.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/element.cuh"
#include "kernels/launch.h"
#include "memory/weight_layout.h"
#include "ops/cuda/kernels.h"

namespace dak::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void embedding_kernel(const __grid_constant__ EmbeddingParams p) {
  const TableRow source = p.rows[blockIdx.x];
  float* out = p.out + blockIdx.x * p.cols;
  for (int64_t col = threadIdx.x; col < p.cols; col += kThreads) {
    const float value = load_element(source.block, offset_in_block(source.row, col), p.dtype);
    out[col] = p.add ? out[col] + value : value;
  }
}

// The sum over the thread block, the same bits in every thread: a fixed tree.
__device__ float block_sum(float value) {
  __shared__ float warps[kThreads / 32];
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  __syncthreads();  // a previous sum may still be read
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0;
  for (const float warp : warps) sum += warp;
  return sum;
}

__global__ void norm_kernel(const __grid_constant__ NormParams p) {
  const float* x = p.x + blockIdx.x * p.cols;
  float* out = p.out + blockIdx.x * p.cols;
  const auto count = static_cast<float>(p.cols);
  float mean = 0;
  if (p.bias != nullptr) {
    float sum = 0;
    for (int64_t i = threadIdx.x; i < p.cols; i += kThreads) sum += x[i];
    mean = block_sum(sum) / count;
  }
  float squares = 0;
  for (int64_t i = threadIdx.x; i < p.cols; i += kThreads) {
    const float centred = x[i] - mean;
    squares += centred * centred;
  }
  const float factor = 1.0f / sqrtf(block_sum(squares) / count + p.epsilon);
  for (int64_t i = threadIdx.x; i < p.cols; i += kThreads) {
    const float normed = (x[i] - mean) * factor * p.weight[i];
    out[i] = p.bias != nullptr ? normed + p.bias[i] : normed;
  }
}

__global__ void rope_kernel(const __grid_constant__ RopeParams p) {
  const auto position = static_cast<float>(p.positions[blockIdx.x]);
  float* row = p.x + blockIdx.x * p.heads * p.head_size;
  for (int64_t i = threadIdx.x; i < p.heads * p.half; i += kThreads) {
    const int64_t pair = i % p.half;
    float sine;
    float cosine;
    sincosf(position * p.inverse[pair], &sine, &cosine);
    sine *= p.magnitude;
    cosine *= p.magnitude;
    float* first = row + i / p.half * p.head_size + pair;
    const float a = first[0];
    const float b = first[p.half];
    first[0] = a * cosine - b * sine;
    first[p.half] = b * cosine + a * sine;
  }
}

__global__ void split_columns_kernel(const __grid_constant__ SplitColumnsParams p) {
  const float* x = p.x + blockIdx.x * p.columns;
  for (int64_t col = threadIdx.x; col < p.columns; col += kThreads) {
    int64_t begin = 0;
#pragma unroll
    for (size_t part = 0; part < kMaxColumnParts; ++part) {
      if (col >= begin && col < p.part_end[part]) {
        p.parts[part][blockIdx.x * (p.part_end[part] - begin) + col - begin] = x[col];
      }
      begin = p.part_end[part];
    }
  }
}

__global__ void gather_rows_kernel(const __grid_constant__ GatherRowsParams p) {
  const float* x = p.x + p.rows[blockIdx.x] * p.cols;
  for (int64_t col = threadIdx.x; col < p.cols; col += kThreads) {
    p.out[blockIdx.x * p.cols + col] = x[col];
  }
}

__global__ void narrow_kernel(const __grid_constant__ NarrowParams p) {
  for (int64_t col = threadIdx.x; col < p.cols; col += kThreads) {
    store_element(p.out, blockIdx.x * p.out_stride + col, p.dtype, p.x[blockIdx.x * p.cols + col]);
  }
}

__global__ void store_kv_kernel(const __grid_constant__ StoreKvParams p) {
  const KvParams& kv = p.kv;
  const KvRow row = kv.rows[blockIdx.x];
  if (row.token < 0) return;
  std::byte* page = kv.pages[row.first_page + row.token / kKvPageTokens];
  const int64_t width = kv.kv_heads * kv.head_size;
  for (int64_t i = threadIdx.x; i < width; i += kThreads) {
    const int64_t head = i / kv.head_size;
    const int64_t at =
        (head * kKvPageTokens + row.token % kKvPageTokens) * kv.head_size + i % kv.head_size;
    store_element(page, at, kv.kv_dtype, p.k[blockIdx.x * width + i]);
    store_element(page, width * kKvPageTokens + at, kv.kv_dtype, p.v[blockIdx.x * width + i]);
  }
}

template <typename Params>
void launch_rows(void (*kernel)(Params), const Params& params, int64_t rows, cudaStream_t stream) {
  if (rows == 0) return;
  launch(kernel, params, {.blocks = static_cast<int>(rows), .threads = kThreads}, stream);
}

}  // namespace

void launch_embedding(const EmbeddingParams& params, cudaStream_t stream) {
  launch_rows(embedding_kernel, params, params.m, stream);
}
void launch_norm(const NormParams& params, cudaStream_t stream) {
  launch_rows(norm_kernel, params, params.rows, stream);
}
void launch_rope(const RopeParams& params, cudaStream_t stream) {
  launch_rows(rope_kernel, params, params.m, stream);
}
void launch_split_columns(const SplitColumnsParams& params, cudaStream_t stream) {
  launch_rows(split_columns_kernel, params, params.m, stream);
}
void launch_gather_rows(const GatherRowsParams& params, cudaStream_t stream) {
  launch_rows(gather_rows_kernel, params, params.m, stream);
}
void launch_narrow(const NarrowParams& params, cudaStream_t stream) {
  launch_rows(narrow_kernel, params, params.m, stream);
}
void launch_store_kv(const StoreKvParams& params, cudaStream_t stream) {
  launch_rows(store_kv_kernel, params, params.kv.m, stream);
}

}  // namespace dak::cuda
