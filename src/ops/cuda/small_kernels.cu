// Everything of a forward pass that is neither a matmul nor attention. These move little: what
// counts is that they are right, and few.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/begin.cuh"
#include "kernels/element.cuh"
#include "kernels/launch.h"
#include "kernels/ptx/sync.cuh"
#include "memory/weight_layout.h"
#include "ops/cuda/heads.cuh"
#include "ops/cuda/kernels.h"

namespace dak::cuda {
namespace {

constexpr int kThreads = 256;
// With 64 registers each, half of a multiprocessor: the next matmul's thread block comes in beside
// it and fills its ring. (1024 threads took all registers; so that matmul's last thread block came
// after the norm, and the norm's after one of the matmul before.)
constexpr int kNormThreads = 512;
constexpr int kNormWarps = kNormThreads / 32;
constexpr int kHeadWarps = 4;
constexpr int kSplitRowsAbove = 256;  // from two rows an SM on

__global__ void embedding_kernel(const __grid_constant__ EmbeddingParams p) {
  begin_dependent();
  const int64_t row = int64_t{p.ids[blockIdx.x]} + p.offset;
  const std::byte* block = p.blocks[row / kRowBlockRows];
  float* out = p.out + blockIdx.x * p.cols;
  for (int64_t col = threadIdx.x; col < p.cols; col += kThreads) {
    const float value = load_element(block, offset_in_block(row % kRowBlockRows, col), p.dtype);
    out[col] = p.add ? out[col] + value : value;
  }
}

// The sum over the thread block, the same bits in every thread: a fixed tree. `warps` is for one
// sum.
__device__ float block_sum(float value, float (&warps)[kNormWarps]) {
  static_assert(kNormWarps == 16);
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
  __syncthreads();
  value = warps[threadIdx.x % kNormWarps];
  for (int step = 8; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  return value;
}

// Up to kKept columns a thread stay in registers. Weights come from HBM, so they are asked for
// before the previous kernel is done.
__global__ void __launch_bounds__(kNormThreads, 2)
    norm_kernel(const __grid_constant__ NormParams p) {
  constexpr int kKept = 16;
  __shared__ float sums[2][kNormWarps];
  ptx::launch_dependents();
  const auto cols = static_cast<int>(p.cols);
  const auto first = static_cast<int>(threadIdx.x);
  float weight[kKept];
  float bias[kKept];
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    const int col = first + i * kNormThreads;
    weight[i] = col < cols ? p.weight[col] : 0.0f;
    bias[i] = col < cols && p.bias != nullptr ? p.bias[col] : 0.0f;
  }
  ptx::grid_dependency_wait();
  const float* x = p.x + blockIdx.x * p.cols;
  const int rest = first + kKept * kNormThreads;
  const auto count = static_cast<float>(cols);
  float values[kKept];
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    const int col = first + i * kNormThreads;
    values[i] = col < cols ? x[col] : 0.0f;
  }
  float mean = 0;
  if (p.bias != nullptr) {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kKept; ++i) sum += values[i];
#pragma unroll 1
    for (int col = rest; col < cols; col += kNormThreads) sum += x[col];
    mean = block_sum(sum, sums[0]) / count;
  }
  float squares = 0;
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    const float centred = first + i * kNormThreads < cols ? values[i] - mean : 0.0f;
    squares += centred * centred;
  }
#pragma unroll 1
  for (int col = rest; col < cols; col += kNormThreads)
    squares += (x[col] - mean) * (x[col] - mean);
  const float factor = 1.0f / sqrtf(block_sum(squares, sums[1]) / count + p.epsilon);
  const int64_t row = blockIdx.x * p.cols;
  const auto store = [&](int col, float value, float scale, float shift) {
    const float normed = (value - mean) * factor * scale;
    store_element(p.out, row + col, p.out_dtype, p.bias != nullptr ? normed + shift : normed);
  };
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    const int col = first + i * kNormThreads;
    if (col < cols) store(col, values[i], weight[i], bias[i]);
  }
#pragma unroll 1
  for (int col = rest; col < cols; col += kNormThreads) {
    store(col, x[col], p.weight[col], p.bias != nullptr ? p.bias[col] : 0.0f);
  }
}

__global__ void rope_kernel(const __grid_constant__ RopeParams p) {
  begin_dependent();
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
  begin_dependent();
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
  begin_dependent();
  const float* x = p.x + p.rows[blockIdx.x] * p.cols;
  for (int64_t col = threadIdx.x; col < p.cols; col += kThreads) {
    p.out[blockIdx.x * p.cols + col] = x[col];
  }
}

__global__ void narrow_kernel(const __grid_constant__ NarrowParams p) {
  begin_dependent();
  for (int64_t col = threadIdx.x; col < p.cols; col += kThreads) {
    store_element(p.out, blockIdx.x * p.out_stride + col, p.dtype, p.x[blockIdx.x * p.cols + col]);
  }
}

__global__ void store_kv_kernel(const __grid_constant__ StoreKvParams p) {
  begin_dependent();
  const KvParams& kv = p.kv;
  const KvRow row = kv.rows[blockIdx.x];
  if (row.token < 0) return;
  std::byte* page = kv.pages[row.first_page + row.token / kKvPageTokens];
  const int64_t width = kv.kv_heads * kv.head_size;
  for (int64_t i = threadIdx.x; i < width; i += kThreads) {
    const int64_t at = place_in_page(kv, i / kv.head_size, row.token % kKvPageTokens,
                                     static_cast<int>(i % kv.head_size));
    store_element(page, at, kv.kv_dtype, p.k[blockIdx.x * width + i]);
    store_element(page, width * kKvPageTokens + at, kv.kv_dtype, p.v[blockIdx.x * width + i]);
  }
}

// Where one head of row m goes, by one warp.
__device__ void store_head(const SplitHeadsParams& p, int64_t m, int64_t head, const float* values,
                           int lane) {
  const KvParams& kv = p.kv;
  const auto size = static_cast<int>(kv.head_size);
  if (kind_of_head(kv, head) == HeadKind::kQuery) {
    float* out = p.q + (m * kv.heads + head) * size;
    for (int i = lane; i < size; i += 32) out[i] = values[i];
    return;
  }
  const KvRow row = kv.rows[m];
  if (row.token < 0) return;
  std::byte* page = kv.pages[row.first_page + row.token / kKvPageTokens];
  for (int i = lane; i < size; i += 32) {
    const int64_t at = place_in_page(kv, head - kv.heads, row.token % kKvPageTokens, i);
    store_element(page, at, kv.kv_dtype, values[i]);
  }
}

// A warp for each (row, head) of q, k and v: few rows want many SMs.
__global__ void __launch_bounds__(kHeadWarps * 32)
    split_heads_kernel(const __grid_constant__ SplitHeadsParams p) {
  __shared__ float heads[kHeadWarps][kMaxHeadSize];
  begin_dependent();
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float* values = heads[threadIdx.x / 32];
  const int64_t all_heads = p.kv.heads + 2 * p.kv.kv_heads;
  const int64_t index = blockIdx.x * int64_t{kHeadWarps} + threadIdx.x / 32;
  if (index >= p.kv.m * all_heads) return;
  transform_head(p, index / all_heads, index % all_heads, values, lane);
  store_head(p, index / all_heads, index % all_heads, values, lane);
}

// A thread block for each row, whose heads share their sines and cosines: for prompts.
__global__ void __launch_bounds__(kThreads)
    split_rows_kernel(const __grid_constant__ SplitHeadsParams p) {
  constexpr int kWarps = kThreads / 32;
  __shared__ float heads[kWarps][kMaxHeadSize];
  __shared__ float2 turns[kMaxHeadSize / 2];
  begin_dependent();
  const int64_t m = blockIdx.x;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  for (int i = static_cast<int>(threadIdx.x); i < p.half; i += kThreads) {
    turns[i] = head_rotation(p, m, i);
  }
  __syncthreads();
  for (int64_t head = warp; head < p.kv.heads + 2 * p.kv.kv_heads; head += kWarps) {
    transform_head(p, m, head, heads[warp], lane, turns);
    store_head(p, m, head, heads[warp], lane);
    __syncwarp();
  }
}

template <typename Params>
void launch_blocks(void (*kernel)(Params), const Params& params, int64_t blocks, int threads,
                   cudaStream_t stream) {
  if (blocks == 0) return;
  launch(kernel, params,
         {.blocks = static_cast<int>(blocks), .threads = threads, .overlap_previous = true},
         stream);
}

template <typename Params>
void launch_rows(void (*kernel)(Params), const Params& params, int64_t rows, cudaStream_t stream) {
  launch_blocks(kernel, params, rows, kThreads, stream);
}

}  // namespace

void launch_embedding(const EmbeddingParams& params, cudaStream_t stream) {
  launch_rows(embedding_kernel, params, params.m, stream);
}
void launch_norm(const NormParams& params, cudaStream_t stream) {
  launch_blocks(norm_kernel, params, params.rows, kNormThreads, stream);
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
void launch_split_heads(const SplitHeadsParams& params, cudaStream_t stream) {
  if (params.kv.m > kSplitRowsAbove) {
    launch_rows(split_rows_kernel, params, params.kv.m, stream);
    return;
  }
  const int64_t heads = params.kv.m * (params.kv.heads + 2 * params.kv.kv_heads);
  launch_blocks(split_heads_kernel, params, (heads + kHeadWarps - 1) / kHeadWarps, kHeadWarps * 32,
                stream);
}

}  // namespace dak::cuda
