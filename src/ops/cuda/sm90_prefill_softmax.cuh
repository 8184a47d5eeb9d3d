// Prefill attention's arithmetic: one warpgroup's 64 query rows against 128 keys and values.
//
// A thread has two rows of the tile, lane / 4 and lane / 4 + 8 of its warp's 16, and of every eight
// columns two, lane % 4 * 2 + {0, 1}: the fragments of wgmma.
#pragma once

#include "kernels/ptx/wgmma_registers.cuh"
#include "kernels/ptx/wgmma_wide.cuh"
#include "ops/cuda/attention_tiles.cuh"
#include "ops/cuda/sm90_prefill_shared.cuh"

namespace dak::cuda {

inline constexpr int kScores = PrefillShape<64>::kTokens / 2;  // of a thread

// Sums of weight x value, the largest score so far and the sum of this thread's weights.
template <int kHeadSize>
struct PrefillState {
  float values[kHeadSize / 2];
  float most[2];
  float sum[2];
};

// Begins scores = queries[64, kHeadSize] keys[128, kHeadSize]^T.
template <typename T, int kHeadSize>
__device__ void multiply_keys(float (&scores)[kScores], const std::byte* queries,
                              const std::byte* keys) {
  using Shape = PrefillShape<kHeadSize>;
  const uint64_t a = ptx::matrix_descriptor(queries, 16, Shape::kEightBytes, Shape::kSwizzle);
  const uint64_t b = ptx::matrix_descriptor(keys, 16, Shape::kEightBytes, Shape::kSwizzle);
  ptx::wgmma_fence();
#pragma unroll
  for (int step = 0; step < kHeadSize / 16; ++step) {
    const uint64_t offset =
        static_cast<uint64_t>(step * 2 / Shape::kPanel) * Shape::kPanelBytes / 16 +
        static_cast<uint64_t>(step * 2 % Shape::kPanel);
    ptx::Wgmma<T, 128>::multiply(scores, a + offset, b + offset, step > 0 ? 1 : 0);
  }
  ptx::wgmma_commit();
}

// Begins sums (+)= weights[64, 128] values[128, kHeadSize].
template <typename T, int kHeadSize>
__device__ void multiply_values(float (&sums)[kHeadSize / 2],
                                const uint32_t (&weights)[kScores / 2], const std::byte* values,
                                int accumulate) {
  using Shape = PrefillShape<kHeadSize>;
  const uint64_t b =
      ptx::matrix_descriptor(values, Shape::kPanelBytes, Shape::kEightBytes, Shape::kSwizzle);
  ptx::wgmma_fence();
#pragma unroll
  for (int step = 0; step < Shape::kTokens / 16; ++step) {
    ptx::WgmmaRegisters<T, kHeadSize>::multiply(
        sums, weights + step * 4, b + static_cast<uint64_t>(step) * 2 * Shape::kEightBytes / 16,
        step > 0 ? 1 : accumulate);
  }
  ptx::wgmma_commit();
}

// The thread's two rows: which tokens they see.
struct PrefillRows {
  int32_t begin[2];
  int32_t end[2];
  // Of the warpgroup: tokens that all its rows see.
  int32_t all_begin;
  int32_t all_end;

  __device__ PrefillRows(const PrefillParams& p, const PrefillUnit& unit, int32_t first,
                         int thread) {
    const int32_t group = p.plan.group;
    const int32_t window = p.plan.window;
    const auto end_of = [&](int32_t index) {
      return unit.past + min(unit.first_index + first + index, unit.rows * group - 1) / group + 1;
    };
    const int32_t row = thread / 32 * 16 + thread % 32 / 4;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      end[i] = end_of(row + i * 8);
      begin[i] = window > 0 ? end[i] - window : 0;
    }
    all_end = end_of(0);
    all_begin = window > 0 ? end_of(63) - window : 0;
  }
  __device__ bool see_all(int32_t first) const {
    return first >= all_begin && first + 128 <= all_end;
  }
  // -inf for what a row does not see of tokens `first` and on.
  __device__ void mask(float (&scores)[kScores], int32_t first, int lane) const {
#pragma unroll
    for (int i = 0; i < kScores; ++i) {
      const int row = i / 2 % 2;
      const int32_t token = first + i / 4 * 8 + lane % 4 * 2 + i % 2;
      if (token < begin[row] || token >= end[row]) scores[i] = -INFINITY;
    }
  }
};

// Scores to weights, relative to the largest so far; `shrink`: what earlier weights are worth now,
// exactly 1 if no score is larger, so that tokens that a row does not see leave its bits alone.
template <int kHeadSize>
__device__ void weigh(float (&scores)[kScores], PrefillState<kHeadSize>& state,
                      float (&shrink)[2]) {
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    float most[2] = {state.most[row], -INFINITY};
#pragma unroll
    for (int i = 0; i < kScores; i += 4) {
      most[0] = fmaxf(most[0], scores[i + row * 2]);
      most[1] = fmaxf(most[1], scores[i + row * 2 + 1]);
    }
    most[0] = fmaxf(most[0], most[1]);
    most[0] = fmaxf(most[0], __shfl_xor_sync(0xffffffffu, most[0], 1));
    most[0] = fmaxf(most[0], __shfl_xor_sync(0xffffffffu, most[0], 2));
    const float base = most[0] == -INFINITY ? 0 : most[0];
    shrink[row] = ptx::exp2_approx(state.most[row] - base);
    state.most[row] = most[0];
    float sum[2] = {};
#pragma unroll
    for (int i = 0; i < kScores; i += 4) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        float& score = scores[i + row * 2 + j];
        score = ptx::exp2_approx(score - base);
        sum[j] += score;
      }
    }
    state.sum[row] = fmaf(state.sum[row], shrink[row], sum[0] + sum[1]);
  }
}

template <typename T>
__device__ void pack_weights(const float (&scores)[kScores], uint32_t (&weights)[kScores / 2]) {
#pragma unroll
  for (int i = 0; i < kScores / 2; ++i) weights[i] = pack<T>(scores[2 * i], scores[2 * i + 1]);
}

template <int kCount>
__device__ void pin(float (&values)[kCount]) {
#pragma unroll
  for (float& value : values) ptx::wgmma_pin(value);
}

// Tokens that do not exist yet: their weights are 0, but zero times NaN is NaN.
template <int kHeadSize>
__device__ void clear_unseen(std::byte* values, int32_t first_unseen, int thread) {
  using Shape = PrefillShape<kHeadSize>;
  for (int i = thread; i < Shape::kTokens * Shape::kUnits; i += 128) {
    if (kv_token_at(i, Shape::kUnits) >= first_unseen)
      reinterpret_cast<uint4*>(values)[i] = uint4{};
  }
  ptx::fence_proxy_async();
}

}  // namespace dak::cuda
