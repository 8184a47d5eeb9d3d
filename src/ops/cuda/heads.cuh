// One head of q, k or v by one warp: norm and rotation; and where a token's keys and values go in a
// page.
#pragma once

#include "kernels/element.cuh"
#include "ops/cuda/kernels.h"

namespace dak::cuda {

enum class HeadKind : uint8_t { kQuery, kKey, kValue };

// Head `head` of the fused projection's row `m`, counted over q, k and v.
__device__ inline HeadKind kind_of_head(const KvParams& kv, int64_t head) {
  return head < kv.heads                 ? HeadKind::kQuery
         : head < kv.heads + kv.kv_heads ? HeadKind::kKey
                                         : HeadKind::kValue;
}

// Cosine (x) and sine (y) of row m's rotation in dimensions i and i + half.
__device__ inline float2 head_rotation(const SplitHeadsParams& p, int64_t m, int i) {
  float2 turn;
  sincosf(static_cast<float>(p.positions[m]) * p.inverse[i], &turn.y, &turn.x);
  return {turn.x * p.magnitude, turn.y * p.magnitude};
}

// The head's values, normalised and rotated, in `values` [head_size] in shared memory. `turns`
// [half]: the row's rotations, where its heads share them; or null.
__device__ inline void transform_head(const SplitHeadsParams& p, int64_t m, int64_t head,
                                      float* values, int lane, const float2* turns = nullptr) {
  const auto size = static_cast<int>(p.kv.head_size);
  const HeadKind kind = kind_of_head(p.kv, head);
  const float* x = p.qkv + (m * (p.kv.heads + 2 * p.kv.kv_heads) + head) * size;
  const float* norm = kind == HeadKind::kQuery ? p.q_norm
                      : kind == HeadKind::kKey ? p.k_norm
                                               : nullptr;
  float squares = 0;
  for (int i = lane; i < size; i += 32) {
    const float value = __ldcg(x + i);  // past L1: another SM may have written it in this kernel
    values[i] = value;
    squares += value * value;
  }
  __syncwarp();
  if (norm != nullptr) {
    for (int step = 16; step > 0; step /= 2) {
      squares += __shfl_xor_sync(0xffffffffu, squares, step);
    }
    const float factor = 1.0f / sqrtf(squares / static_cast<float>(size) + p.epsilon);
    for (int i = lane; i < size; i += 32) values[i] = values[i] * factor * norm[i];
    __syncwarp();
  }
  if (kind != HeadKind::kValue && p.half > 0) {
    const auto half = static_cast<int>(p.half);
    for (int i = lane; i < half; i += 32) {
      const float2 turn = turns != nullptr ? turns[i] : head_rotation(p, m, i);
      const float a = values[i];
      const float b = values[i + half];
      values[i] = a * turn.x - b * turn.y;
      values[i + half] = b * turn.x + a * turn.y;
    }
    __syncwarp();
  }
}

// Element of a page's head: keys first, values from head kv_heads on.
__device__ inline int64_t place_in_page(const KvParams& kv, int64_t head, int64_t token, int dim) {
  if (!on_tensor_cores(kv.kv_dtype, kv.head_size)) {
    return (head * kKvPageTokens + token) * kv.head_size + dim;
  }
  const auto units = static_cast<int>(kv.head_size / 8);
  return head * kKvPageTokens * kv.head_size +
         kv_place(static_cast<int>(token), dim / 8, units) * 8 + dim % 8;
}

}  // namespace dak::cuda
