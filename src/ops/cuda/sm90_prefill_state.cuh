// What a unit leaves: outputs, or sums for the next unit of its tile.
#pragma once

#include "ops/cuda/sm90_prefill_softmax.cuh"

namespace dak::cuda {

// state = earlier segments' (x `before`) and its own. The place of element i of thread t among
// those of a warpgroup's half tile: [i / 4][t][i % 4].
template <int kHeadSize>
struct StoredState {
  float4* values;  // [kHeadSize / 8][128]
  float4* rests;   // [128]: most and sum of two rows

  __device__ StoredState(const PrefillParams& p, const PrefillUnit& unit, int half) {
    float* begin = p.states + unit.state * prefill_state_floats(kHeadSize) +
                   half * (prefill_state_floats(kHeadSize) / 2);
    values = reinterpret_cast<float4*>(begin);
    rests = values + kHeadSize / 8 * 128;
  }

  __device__ void store(const PrefillState<kHeadSize>& state, int thread) const {
#pragma unroll
    for (int i = 0; i < kHeadSize / 8; ++i) {
      __stcg(values + i * 128 + thread, float4{state.values[i * 4], state.values[i * 4 + 1],
                                               state.values[i * 4 + 2], state.values[i * 4 + 3]});
    }
    __stcg(rests + thread, float4{state.most[0], state.most[1], state.sum[0], state.sum[1]});
  }

  // A row that sees nothing of either side has the other's bits.
  __device__ void merge_into(PrefillState<kHeadSize>& state, int thread) const {
    const float4 rest = __ldcg(rests + thread);
    const float before_most[2] = {rest.x, rest.y};
    const float before_sum[2] = {rest.z, rest.w};
    float before[2];
    float now[2];
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const float most = fmaxf(before_most[row], state.most[row]);
      const float base = most == -INFINITY ? 0 : most;
      before[row] = ptx::exp2_approx(before_most[row] - base);
      now[row] = ptx::exp2_approx(state.most[row] - base);
      state.most[row] = most;
      state.sum[row] = fmaf(state.sum[row], now[row], before_sum[row] * before[row]);
    }
#pragma unroll
    for (int i = 0; i < kHeadSize / 8; ++i) {
      const float4 v = __ldcg(values + i * 128 + thread);
      float(&mine)[kHeadSize / 2] = state.values;
      mine[i * 4] = fmaf(mine[i * 4], now[0], v.x * before[0]);
      mine[i * 4 + 1] = fmaf(mine[i * 4 + 1], now[0], v.y * before[0]);
      mine[i * 4 + 2] = fmaf(mine[i * 4 + 2], now[1], v.z * before[1]);
      mine[i * 4 + 3] = fmaf(mine[i * 4 + 3], now[1], v.w * before[1]);
    }
  }
};

// Neighbouring lanes swap, so that each stores four outputs that follow each other.
template <int kHeadSize>
__device__ void store_outputs(const PrefillParams& p, const PrefillUnit& unit,
                              const PrefillState<kHeadSize>& state, int half, int thread) {
  const int32_t group = p.plan.group;
  const int lane = thread % 32;
  const bool odd = lane % 2 != 0;
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    float sum = state.sum[row];
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    sum += __shfl_xor_sync(0xffffffffu, sum, 2);
    const float share = 1.0f / sum;
    const int32_t index = unit.first_index + half * 64 + thread / 32 * 16 + lane / 4 + row * 8;
    const bool exists = index < unit.rows * group;
    const int64_t at =
        ((unit.first_row + index / group) * p.kv.heads + unit.kv_head * group + index % group) *
        kHeadSize;
#pragma unroll
    for (int n = 0; n < kHeadSize / 8; n += 2) {
      const float* even_part = state.values + n * 4 + row * 2;
      const float* odd_part = even_part + 4;
      const float other[2] = {
          __shfl_xor_sync(0xffffffffu, odd ? even_part[0] : odd_part[0], 1) * share,
          __shfl_xor_sync(0xffffffffu, odd ? even_part[1] : odd_part[1], 1) * share};
      const float mine[2] = {(odd ? odd_part[0] : even_part[0]) * share,
                             (odd ? odd_part[1] : even_part[1]) * share};
      const float4 four = odd ? float4{other[0], other[1], mine[0], mine[1]}
                              : float4{mine[0], mine[1], other[0], other[1]};
      if (!exists) continue;
      const int64_t place = at + (odd ? n + 1 : n) * 8 + lane % 4 / 2 * 4;
      if (p.out_dtype == Element::kF32) {
        *reinterpret_cast<float4*>(static_cast<float*>(p.out) + place) = four;
      } else {
        uint2 packed;
        if (p.out_dtype == Element::kBF16) {
          packed = {pack<__nv_bfloat16>(four.x, four.y), pack<__nv_bfloat16>(four.z, four.w)};
        } else {
          packed = {pack<__half>(four.x, four.y), pack<__half>(four.z, four.w)};
        }
        *reinterpret_cast<uint2*>(static_cast<uint16_t*>(p.out) + place) = packed;
      }
    }
  }
}

// By the warpgroup of half `half` of the tile; `barrier` is its own.
template <int kHeadSize>
__device__ void finish_unit(const PrefillParams& p, const PrefillUnit& unit,
                            PrefillState<kHeadSize>& state, int half, int thread,
                            uint32_t barrier) {
  if (unit.state < 0) return store_outputs<kHeadSize>(p, unit, state, half, thread);
  uint32_t* progress = prefill_progress(p) + unit.state * 2 + half;
  if (thread == 0) {  // the segment before, or the unit that had the slot
    while (ptx::load_acquire(progress) != unit.progress) ptx::sleep_ns(100);
  }
  ptx::named_barrier(barrier, 128);
  const StoredState<kHeadSize> stored(p, unit, half);
  if (unit.is_first == 0) stored.merge_into(state, thread);
  if (unit.is_last != 0) {
    store_outputs<kHeadSize>(p, unit, state, half, thread);
  } else {
    stored.store(state, thread);
    __threadfence();
  }
  ptx::named_barrier(barrier, 128);
  if (thread == 0) {
    const uint32_t turn = unit.progress / kStateSteps;
    ptx::add_release(progress, unit.is_last != 0 ? (turn + 1) * kStateSteps - unit.progress : 1);
  }
}

}  // namespace dak::cuda
