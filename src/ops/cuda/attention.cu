// Attention over the paged cache with ordinary loads, for what paged_attention.cuh does not take:
// f32 pages, other head sizes, GPUs without TMA. A thread block for each (row, head). Warp w takes
// the pages whose number is w modulo kWarps, in order, with an online softmax; the warps' results
// are merged in order of w. So the order of every sum follows from token indices alone, whatever
// the batch.
#include <cmath>

#include "kernels/begin.cuh"
#include "kernels/element.cuh"
#include "kernels/half_types.h"
#include "kernels/launch.h"
#include "ops/cuda/kernels.h"

namespace dak::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kLanes = 32;
constexpr int kDimsPerLane = kMaxHeadSize / kLanes;
constexpr int kTokensPerLane = kKvPageTokens / kLanes;
constexpr uint32_t kAll = 0xffffffffu;

// In shared memory: q [head_size], then each warp's most, sum and values [head_size]. Small, so
// that the next matmul's thread blocks fit beside it and fill their rings.
struct Shared {
  float* q;
  float* most;
  float* sum;
  float* values;

  __device__ Shared(float* memory, int64_t head_size)
      : q(memory), most(q + head_size), sum(most + kWarps), values(sum + kWarps) {}
  static size_t size_bytes(int64_t head_size) {
    return static_cast<size_t>((kWarps + 1) * head_size + 2 * kWarps) * sizeof(float);
  }
};

template <typename T>
__device__ float as_f32(T value) {
  return static_cast<float>(value);
}

// Where the 8 values of a token from dimension 8 * unit on lie among those of a page's head.
template <bool kSwizzled>
__device__ int unit_in_page(int token, int unit, int head_size) {
  return (kSwizzled ? kv_place(token, unit, head_size / 8) : token * (head_size / 8) + unit) * 8;
}

// q . k over one token's key; 8 values at a time, as head_size allows.
template <typename T, bool kSwizzled>
__device__ float dot_key(const float* q, const T* keys, int token, int head_size) {
  float sum = 0;
#pragma unroll 4
  for (int i = 0; i < head_size; i += 8) {
    const T* unit = keys + unit_in_page<kSwizzled>(token, i / 8, head_size);
    alignas(16) T values[8];
#pragma unroll
    for (size_t part = 0; part < sizeof(values) / 16; ++part) {
      reinterpret_cast<int4*>(values)[part] = reinterpret_cast<const int4*>(unit)[part];
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) sum = fmaf(q[i + j], as_f32(values[j]), sum);
  }
  return sum;
}

__device__ float warp_max(float value) {
  for (int step = 16; step > 0; step /= 2) value = fmaxf(value, __shfl_xor_sync(kAll, value, step));
  return value;
}
__device__ float warp_sum(float value) {
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(kAll, value, step);
  return value;
}

// What a warp knows after some pages.
struct Running {
  float most = -INFINITY;
  float sum = 0;
  float values[kDimsPerLane] = {};  // dimensions lane, lane + 32, ...
};

// Adds tokens [begin, end) of one page, counted within the page.
template <typename T, bool kSwizzled>
__device__ void add_page(const AttentionParams& p, const float* q, const T* keys, const T* values,
                         int begin, int end, Running& state) {
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int head_size = static_cast<int>(p.kv.head_size);
  float scores[kTokensPerLane];
  float most = state.most;
#pragma unroll
  for (int i = 0; i < kTokensPerLane; ++i) {
    const int token = lane + i * kLanes;
    scores[i] = token >= begin && token < end
                    ? p.kv.scale * dot_key<T, kSwizzled>(q, keys, token, head_size)
                    : -INFINITY;
    most = fmaxf(most, scores[i]);
  }
  most = warp_max(most);  // finite: the page has a token
  const float shrink = expf(state.most - most);
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kTokensPerLane; ++i) {
    scores[i] = expf(scores[i] - most);
    sum += scores[i];
  }
  state.sum = state.sum * shrink + warp_sum(sum);
  state.most = most;
#pragma unroll
  for (int d = 0; d < kDimsPerLane; ++d) state.values[d] *= shrink;
  const auto add_token = [&](int i, int source) {
    const int token = source + i * kLanes;
    const float weight = __shfl_sync(kAll, scores[i], source);
    if (token < begin || token >= end) return;  // the same for the whole warp
#pragma unroll
    for (int d = 0; d < kDimsPerLane; ++d) {
      const int dim = lane + d * kLanes;
      if (dim < head_size) {
        const int at = unit_in_page<kSwizzled>(token, dim / 8, head_size) + dim % 8;
        state.values[d] = fmaf(weight, as_f32(values[at]), state.values[d]);
      }
    }
  };
#pragma unroll
  for (int i = 0; i < kTokensPerLane; ++i) {
#pragma unroll 8
    for (int source = 0; source < kLanes; ++source) add_token(i, source);
  }
}

template <typename T, bool kSwizzled>
__global__ void __launch_bounds__(kWarps* kLanes)
    attention_kernel(const __grid_constant__ AttentionParams p) {
  extern __shared__ float memory[];
  begin_dependent();
  const auto heads = static_cast<unsigned>(p.kv.heads);
  const int64_t head_size = p.kv.head_size;
  const Shared shared(memory, head_size);
  const KvRow row = p.kv.rows[blockIdx.x / heads];
  if (row.token < 0) return;
  const int64_t head = blockIdx.x % heads;
  const int64_t kv_head = head / (p.kv.heads / p.kv.kv_heads);
  const int warp = static_cast<int>(threadIdx.x) / kLanes;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  for (int64_t i = threadIdx.x; i < head_size; i += kWarps * kLanes) {
    shared.q[i] = p.q[blockIdx.x * head_size + i];
  }
  __syncthreads();

  const int64_t end = row.token + 1;
  const int64_t begin = p.kv.window > 0 && end > p.kv.window ? end - p.kv.window : 0;
  Running state;
  int64_t page = begin / kKvPageTokens / kWarps * kWarps + warp;
  if (page < begin / kKvPageTokens) page += kWarps;
  for (; page * kKvPageTokens < end; page += kWarps) {
    const T* keys = reinterpret_cast<const T*>(p.kv.pages[row.first_page + page]) +
                    kv_head * kKvPageTokens * head_size;
    const T* values = keys + p.kv.kv_heads * kKvPageTokens * head_size;
    const int64_t first = page * kKvPageTokens;
    add_page<T, kSwizzled>(p, shared.q, keys, values,
                           static_cast<int>(max(begin - first, int64_t{0})),
                           static_cast<int>(min(end - first, kKvPageTokens)), state);
  }
  if (lane == 0) {
    shared.most[warp] = state.most;
    shared.sum[warp] = state.sum;
  }
#pragma unroll
  for (int d = 0; d < kDimsPerLane; ++d) {
    const int dim = lane + d * kLanes;
    if (dim < head_size) shared.values[warp * head_size + dim] = state.values[d];
  }
  __syncthreads();

  float most = -INFINITY;
  for (int w = 0; w < kWarps; ++w) most = fmaxf(most, shared.most[w]);
  for (int64_t i = threadIdx.x; i < head_size; i += kWarps * kLanes) {
    float sum = 0;
    float value = 0;
    for (int w = 0; w < kWarps; ++w) {
      const float share = expf(shared.most[w] - most);  // 0 for a warp without pages
      sum = fmaf(share, shared.sum[w], sum);
      value = fmaf(share, shared.values[w * head_size + i], value);
    }
    store_element(p.out, blockIdx.x * head_size + i, p.out_dtype, value / sum);
  }
}

}  // namespace

void launch_attention(const AttentionParams& params, cudaStream_t stream) {
  if (params.kv.m == 0) return;
  const LaunchShape shape{.blocks = static_cast<int>(params.kv.m * params.kv.heads),
                          .threads = kWarps * kLanes,
                          .shared_bytes = Shared::size_bytes(params.kv.head_size),
                          .overlap_previous = params.overlap_previous};
  if (params.kv.kv_dtype == Element::kF32) {
    return launch(attention_kernel<float, false>, params, shape, stream);
  }
  with_half_type(params.kv.kv_dtype, "attention", [&]<typename T>() {
    const bool swizzled = on_tensor_cores(params.kv.kv_dtype, params.kv.head_size);
    launch(swizzled ? attention_kernel<T, true> : attention_kernel<T, false>, params, shape,
           stream);
  });
}

}  // namespace dak::cuda
