// RMS and layer norm of one row by 128 threads of a larger kernel, to the same bits as norm_kernel
// (small_kernels.cu) with its 1024: thread t sums up what threads t % 32 + 32 (t / 32 + 4 i) of
// that one do.
#pragma once

#include "kernels/element.cuh"
#include "kernels/ptx/bulk_copy.cuh"
#include "kernels/ptx/sync.cuh"
#include "ops/cuda/kernels.h"

namespace dak::cuda {

inline constexpr int kRowNormThreads = 128;
inline constexpr int kRowNormStride = 1024;  // norm_kernel's threads
inline constexpr int kRowNormParts = kRowNormStride / kRowNormThreads;
inline constexpr int kRowNormKept = 8;  // columns of each of those that stay in registers

struct RowNormShared {
  float warps[2][kRowNormStride / 32];
};

// The sum over all threads' parts, the same bits in each. Barrier `barrier` is the 128 threads'.
__device__ inline float row_norm_sum(float (&parts)[kRowNormParts],
                                     float (&warps)[kRowNormStride / 32], uint32_t barrier,
                                     int thread) {
#pragma unroll
  for (int part = 0; part < kRowNormParts; ++part) {
    for (int step = 16; step > 0; step /= 2) {
      parts[part] += __shfl_xor_sync(0xffffffffu, parts[part], step);
    }
    if (thread % 32 == 0) warps[thread / 32 + part * (kRowNormThreads / 32)] = parts[part];
  }
  ptx::named_barrier(barrier, kRowNormThreads);
  float sum = 0;
  for (const float warp : warps) sum += warp;
  return sum;
}

// Row `row` of `p`. Between two calls that share `shared` lies a barrier of the 128 threads. x is
// read past L1: another SM may have written it in this kernel.
__device__ inline void norm_row(const NormParams& p, int64_t row, RowNormShared& shared,
                                uint32_t barrier, int thread) {
  const float* x = p.x + row * p.cols;
  const auto cols = static_cast<int>(p.cols);
  const auto count = static_cast<float>(p.cols);
  // Column of part and round.
  const auto column = [thread](int part, int i) {
    return thread + part * kRowNormThreads + i * kRowNormStride;
  };
  float values[kRowNormParts][kRowNormKept];
#pragma unroll
  for (int i = 0; i < kRowNormKept; ++i) {
#pragma unroll
    for (int part = 0; part < kRowNormParts; ++part) {
      const int col = column(part, i);
      values[part][i] = col < cols ? __ldcg(x + col) : 0.0f;
    }
  }
  float parts[kRowNormParts];
  float mean = 0;
  if (p.bias != nullptr) {
#pragma unroll
    for (int part = 0; part < kRowNormParts; ++part) {
      parts[part] = 0;
#pragma unroll
      for (int i = 0; i < kRowNormKept; ++i) parts[part] += values[part][i];
      for (int col = column(part, kRowNormKept); col < cols; col += kRowNormStride) {
        parts[part] += __ldcg(x + col);
      }
    }
    mean = row_norm_sum(parts, shared.warps[0], barrier, thread) / count;
  }
#pragma unroll
  for (int part = 0; part < kRowNormParts; ++part) {
    parts[part] = 0;
#pragma unroll
    for (int i = 0; i < kRowNormKept; ++i) {
      const float centred = column(part, i) < cols ? values[part][i] - mean : 0.0f;
      parts[part] += centred * centred;
    }
    for (int col = column(part, kRowNormKept); col < cols; col += kRowNormStride) {
      const float value = __ldcg(x + col);
      parts[part] += (value - mean) * (value - mean);
    }
  }
  const float total = row_norm_sum(parts, shared.warps[1], barrier, thread);
  const float factor = 1.0f / sqrtf(total / count + p.epsilon);
  const auto store = [&](int col, float value) {
    const float normed = (value - mean) * factor * p.weight[col];
    store_element(p.out, row * p.cols + col, p.out_dtype,
                  p.bias != nullptr ? normed + p.bias[col] : normed);
  };
#pragma unroll
  for (int i = 0; i < kRowNormKept; ++i) {
#pragma unroll
    for (int part = 0; part < kRowNormParts; ++part) {
      const int col = column(part, i);
      if (col < cols) store(col, values[part][i]);
    }
  }
  for (int col = thread + kRowNormKept * kRowNormStride; col < cols; col += kRowNormThreads) {
    store(col, __ldcg(x + col));
  }
}

// Asks L2 for what the norm multiplies and adds, before its x is there.
__device__ inline void prefetch_norm(const NormParams& p, int thread) {
  constexpr int64_t kLineFloats = 32;
  for (int64_t at = thread * kLineFloats; at < p.cols; at += kRowNormThreads * kLineFloats) {
    ptx::prefetch_l2(p.weight + at);
    if (p.bias != nullptr) ptx::prefetch_l2(p.bias + at);
  }
}

}  // namespace dak::cuda
