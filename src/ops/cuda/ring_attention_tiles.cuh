// Attention's arithmetic over half pages of 16-bit keys and values, with tensor cores: what one
// warp does.
//
// The query's 8 heads are rows 0-7 of a 16-row fragment, rounded to 16 bits; rows 8-15 hold what
// rounding took away, so that products are as good as with f32 queries. The same with the weights
// of the values. Half a fragment would be idle otherwise.
#pragma once

#include "kernels/element.cuh"
#include "kernels/ptx/mma.cuh"
#include "kernels/ptx/sync.cuh"
#include "ops/cuda/ring_attention_shared.cuh"

namespace dak::cuda::ring {

// What a warp knows of its pages so far, for head lane / 4. Values of dimension
// 8 n + lane % 4 * 2 + {0, 1}: [n][0..1] from the rounded weights, [n][2..3] from the rests.
template <int kHeadSize>
struct RunningSoftmax {
  float most = -INFINITY;
  float sum = 0;  // of this lane's tokens only
  float values[kHeadSize / 8][4] = {};
};

template <typename T>
__device__ uint32_t pack(float first, float second);
template <>
__device__ inline uint32_t pack<__nv_bfloat16>(float first, float second) {
  const __nv_bfloat162 both = __floats2bfloat162_rn(first, second);
  return *reinterpret_cast<const uint32_t*>(&both);
}
template <>
__device__ inline uint32_t pack<__half>(float first, float second) {
  const __half2 both = __floats2half2_rn(first, second);
  return *reinterpret_cast<const uint32_t*>(&both);
}

template <typename T>
__device__ float2 unpack(uint32_t both);
template <>
__device__ inline float2 unpack<__nv_bfloat16>(uint32_t both) {
  return {__uint_as_float(both << 16), __uint_as_float(both & 0xffff0000u)};
}
template <>
__device__ inline float2 unpack<__half>(uint32_t both) {
  return __half22float2(*reinterpret_cast<const __half2*>(&both));
}

// A fragment's registers for two neighbours: rounded, and what rounding took.
template <typename T>
__device__ void pack_both(float first, float second, uint32_t& high, uint32_t& low) {
  high = pack<T>(first, second);
  const float2 kept = unpack<T>(high);
  low = pack<T>(first - kept.x, second - kept.y);
}

// Bytes from a half page's first to the 16-byte unit `unit` of token `token`, multiples of 8 and 2,
// each with what it has of the lane besides. Where panels are eight units wide, few of the lane's
// addresses differ by more than a constant.
template <int kHeadSize>
__device__ uint32_t unit_offset(int token, int lane_token, int unit, int lane_unit) {
  constexpr int kUnits = AttentionShape<kHeadSize>::kUnits;
  if constexpr (kv_panel_units(kUnits) == 8) {
    const int lane_part = kv_place(lane_token, lane_unit, kUnits) * 16;
    return static_cast<uint32_t>((lane_part ^ (unit % 8 * 16)) +
                                 kv_place(token, unit & ~7, kUnits) * 16);
  } else {
    return static_cast<uint32_t>(
        kv_place(token + lane_token, min(unit + lane_unit, kUnits - 1), kUnits) * 16);
  }
}

// q [heads, kHeadSize] in shared memory; heads from 8 on are another tile's.
template <typename T, int kHeadSize>
__device__ void load_query(const float* q, int heads, float score_scale, int lane,
                           uint32_t (&query)[AttentionShape<kHeadSize>::kSteps][4]) {
  const int head = lane / 4;
  const float scale = score_scale * 1.44269504f;  // exp2 is cheaper than exp
#pragma unroll
  for (int step = 0; step < AttentionShape<kHeadSize>::kSteps; ++step) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float2 pair{};
      const int dim = step * 16 + half * 8 + lane % 4 * 2;
      if (head < heads) pair = *reinterpret_cast<const float2*>(q + head * kHeadSize + dim);
      pack_both<T>(pair.x * scale, pair.y * scale, query[step][half * 2],
                   query[step][half * 2 + 1]);
    }
  }
}

template <typename T, int kHeadSize>
__device__ void add_keys(const uint32_t (&query)[AttentionShape<kHeadSize>::kSteps][4],
                         const std::byte* keys, int begin, int end, int lane,
                         RunningSoftmax<kHeadSize>& state, float (&weights)[4][2]) {
  using Shape = AttentionShape<kHeadSize>;
  float most = state.most;
#pragma unroll
  for (int tile = 0; tile < 4; ++tile) {
    float score[4] = {};
    float odd[4] = {};  // two chains are twice as fast as one
#pragma unroll
    for (int step = 0; step < Shape::kSteps; step += 2) {
      uint32_t b[4];
      ptx::load_matrices(b, keys + unit_offset<kHeadSize>(tile * 8, lane % 8, step * 2, lane / 8));
      ptx::Mma<T>::multiply(score, query[step], b[0], b[1]);
      if (step + 1 < Shape::kSteps) ptx::Mma<T>::multiply(odd, query[step + 1], b[2], b[3]);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) score[i] += odd[i];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int at = tile * 8 + lane % 4 * 2 + i;
      weights[tile][i] = at >= begin && at < end ? score[i] + score[i + 2] : -INFINITY;
      most = fmaxf(most, weights[tile][i]);
    }
  }
  most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
  most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2));
  // A half without a token that is seen adds nothing.
  const float shrink = ptx::exp2_approx(state.most - most);
  const bool grew = __any_sync(0xffffffffu, most > state.most);
  state.most = most;
  state.sum *= shrink;
#pragma unroll
  for (int tile = 0; tile < 4; ++tile) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      weights[tile][i] = ptx::exp2_approx(weights[tile][i] - most);
      state.sum += weights[tile][i];
    }
  }
  if (!grew) return;  // times 1 leaves all as it is
#pragma unroll
  for (auto& value : state.values) {
#pragma unroll
    for (float& part : value) part *= shrink;
  }
}

template <typename T, int kHeadSize>
__device__ void add_values(const float (&weights)[4][2], const std::byte* values, int lane,
                           RunningSoftmax<kHeadSize>& state) {
  using Shape = AttentionShape<kHeadSize>;
#pragma unroll
  for (int step = 0; step < 2; ++step) {  // of 16 tokens
    uint32_t a[4];
    pack_both<T>(weights[step * 2][0], weights[step * 2][1], a[0], a[1]);
    pack_both<T>(weights[step * 2 + 1][0], weights[step * 2 + 1][1], a[2], a[3]);
#pragma unroll
    for (int pair = 0; pair < Shape::kUnits / 2; ++pair) {
      uint32_t b[4];
      ptx::load_matrices_transposed(
          b, values + unit_offset<kHeadSize>(step * 16, lane % 16, pair * 2, lane / 16));
      ptx::Mma<T>::multiply(state.values[pair * 2], a, b[0], b[1]);
      ptx::Mma<T>::multiply(state.values[pair * 2 + 1], a, b[2], b[3]);
    }
  }
}

// Rows outside [begin, end) may never have been written: zero times NaN is NaN.
template <int kHeadSize>
__device__ void clear_rows(std::byte* values, int begin, int end, int lane) {
  constexpr int kUnits = AttentionShape<kHeadSize>::kUnits;
  for (int i = lane; i < kHalfTokens * kUnits; i += 32) {
    const int token = kv_token_at(i, kUnits);
    if (token < begin || token >= end) reinterpret_cast<uint4*>(values)[i] = uint4{};
  }
  __syncwarp();
}

// What one warp leaves of its share of a part, in shared memory.
template <int kHeadSize>
__device__ void store_state(float* target, const RunningSoftmax<kHeadSize>& state, int lane) {
  using Shape = AttentionShape<kHeadSize>;
  const int head = lane / 4;
  float* values = target + head * Shape::kHeadStride + lane % 4 * 2;
#pragma unroll
  for (int n = 0; n < kHeadSize / 8; ++n) {
    *reinterpret_cast<float2*>(values + n * 8) = {state.values[n][0] + state.values[n][2],
                                                  state.values[n][1] + state.values[n][3]};
  }
  float sum = state.sum;
  sum += __shfl_xor_sync(0xffffffffu, sum, 1);
  sum += __shfl_xor_sync(0xffffffffu, sum, 2);
  if (lane % 4 != 0) return;
  target[kTileHeads * Shape::kHeadStride + head] = state.most;
  target[kTileHeads * (Shape::kHeadStride + 1) + head] = sum;
}

// One of the warps that multiply: its tile of heads, its half pages of every part. Which they are
// follows from their place in the sequence.
template <typename T, int kHeadSize>
__device__ void multiply_units(const AttentionParams& p, AttentionShared<kHeadSize>& shared,
                               std::byte* stages, int warp, int lane) {
  using Shape = AttentionShape<kHeadSize>;
  const WarpShare share = warp_share<kHeadSize>(p.tiles, warp);
  if (share.tile >= p.tiles) return;
  // A stage is free when all tiles have multiplied it; a queries' one when all warps have read it.
  const uint32_t pages_count = share.tile == 0 ? Shape::kWarps - p.tiles + 1 : 1;
  const uint32_t query_count = warp == 0 ? Shape::kWarps - p.tiles * share.streams + 1 : 1;
  const int query_stages = query_stages_of(p.tiles);
  StatePosition states;
  UnitPosition slot;
  uint32_t first = 0;
  for (;; slot.advance()) {
    ptx::mbarrier_wait(&shared.unit_full[slot.stage], slot.phase);
    const AttentionUnit unit = shared.units[slot.stage];
    if (unit.heads == 0) return;
    uint32_t query[Shape::kSteps][4];
    for (int i = 0; i < query_stages; ++i, ++first) {
      const auto at = Shape::place(first);
      wait_full(shared, first);
      if (share.tile / kStageTiles == i) {
        const std::byte* q = stages + at.stage * Shape::kStageBytes;
        const int tile = share.tile % kStageTiles;
        load_query<T, kHeadSize>(reinterpret_cast<const float*>(q) + tile * kTileHeads * kHeadSize,
                                 unit.heads - share.tile * kTileHeads, p.kv.scale, lane, query);
      }
      __syncwarp();
      if (lane == 0) ptx::mbarrier_arrive(&shared.empty[at.stage], query_count);
    }
    for (int32_t half = unit.first_half; half < unit.last_half;) {
      const int32_t part_end =
          min((half / unit.part_halves + 1) * unit.part_halves, unit.last_half);
      RunningSoftmax<kHeadSize> state;
      int32_t own = half + ((share.stream - half) & (share.streams - 1));
      for (; own < part_end; own += share.streams) {
        const uint32_t n = first + static_cast<uint32_t>(own - unit.first_half);
        const auto at = Shape::place(n);
        std::byte* keys = stages + at.stage * Shape::kStageBytes;
        std::byte* values = keys + Shape::kTileBytes;
        const int begin = max(unit.begin - own * kHalfTokens, 0);
        const int end = min(unit.end - own * kHalfTokens, kHalfTokens);
        float weights[4][2];
        wait_full(shared, n);
        add_keys<T, kHeadSize>(query, keys, begin, end, lane, state, weights);
        if (begin > 0 || end < kHalfTokens) {
          clear_rows<kHeadSize>(values, begin, end, lane);
          ptx::fence_proxy_async();  // the zeros before the next copy
        }
        add_values<T, kHeadSize>(weights, values, lane, state);
        __syncwarp();
        if (lane == 0) ptx::mbarrier_arrive(&shared.empty[at.stage], pages_count);
      }
      half = part_end;
      ptx::mbarrier_wait(&shared.state_empty[warp], states.phase ^ 1);
      store_state<kHeadSize>(shared.states[warp], state, lane);
      __syncwarp();
      if (lane == 0) ptx::mbarrier_arrive(&shared.state_full[warp]);
      states.advance();
    }
    first += static_cast<uint32_t>(unit.last_half - unit.first_half);
  }
}

}  // namespace dak::cuda::ring
