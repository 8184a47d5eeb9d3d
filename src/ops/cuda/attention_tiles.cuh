// Attention's arithmetic over half pages of 16-bit keys and values, with tensor cores.
//
// The query's 8 heads are rows 0-7 of a 16-row fragment, rounded to 16 bits; rows 8-15 hold what
// rounding took away, so that products are as good as with f32 queries. The same with the weights
// of the values. Half a fragment would be idle otherwise.
#pragma once

#include "kernels/element.cuh"
#include "kernels/ptx/mma.cuh"
#include "kernels/ptx/sync.cuh"
#include "ops/cuda/attention_units.cuh"
#include "ops/cuda/kernels.h"

namespace dak::cuda {

template <int kHeadSize>
struct AttentionShape {
  static constexpr int kSteps = kHeadSize / 16;  // of the dot products
  static constexpr int kUnits = kHeadSize / 8;   // of 16 bytes in a row
  static constexpr uint32_t kTileBytes = kHalfTokens * kHeadSize * 2;
  static constexpr int kPieceFloats = kTileHeads * (kHeadSize + 2);  // values, most, sum
  // Shared memory and registers for so many thread blocks a multiprocessor.
  static constexpr int kBlocks = kHeadSize <= 128 ? 3 : 1;
};

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
__device__ float rounded(float x) {
  return static_cast<float>(static_cast<T>(x));
}

// A fragment's registers for two neighbours: rounded, and what rounding took.
template <typename T>
__device__ void pack_both(float first, float second, uint32_t& high, uint32_t& low) {
  high = pack<T>(first, second);
  low = pack<T>(first - rounded<T>(first), second - rounded<T>(second));
}

// q [heads, kHeadSize], at most 8 heads.
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
    const int token = tile * 8 + lane % 8;
#pragma unroll
    for (int step = 0; step < Shape::kSteps; step += 2) {
      uint32_t b[4];
      const int unit = min(step * 2 + lane / 8, Shape::kUnits - 1);
      ptx::load_matrices(b, keys + kv_place(token, unit, Shape::kUnits) * 16);
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
  if (most == -INFINITY) {  // no token of this half is seen
#pragma unroll
    for (auto& pair : weights) pair[0] = pair[1] = 0;
    return;
  }
  const float shrink = exp2f(state.most - most);
  state.most = most;
  state.sum *= shrink;
#pragma unroll
  for (int tile = 0; tile < 4; ++tile) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      weights[tile][i] = exp2f(weights[tile][i] - most);
      state.sum += weights[tile][i];
    }
  }
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
    const int token = step * 16 + lane / 8 % 2 * 8 + lane % 8;
#pragma unroll
    for (int pair = 0; pair < Shape::kUnits / 2; ++pair) {
      uint32_t b[4];
      const int unit = pair * 2 + lane / 16;
      ptx::load_matrices_transposed(b, values + kv_place(token, unit, Shape::kUnits) * 16);
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

// Pieces in memory: values [kHeadSize / 8][4 lanes a head] float2, then most and sum [heads].
template <int kHeadSize>
__device__ void store_piece(float* piece, const RunningSoftmax<kHeadSize>& state, int lane,
                            int heads = kTileHeads) {
  if (lane / 4 >= heads) return;
#pragma unroll
  for (int n = 0; n < kHeadSize / 8; ++n) {
    reinterpret_cast<float2*>(piece)[n * heads * 4 + lane] = {state.values[n][0],
                                                              state.values[n][1]};
  }
  if (lane % 4 != 0) return;
  piece[heads * kHeadSize + lane / 4] = state.most;
  piece[heads * (kHeadSize + 1) + lane / 4] = state.sum;
}

// state += a piece in shared memory; `state` has its rests and lanes already added up.
template <int kHeadSize>
__device__ void merge_piece(RunningSoftmax<kHeadSize>& state, const float* piece, int lane) {
  const float other_most = piece[kTileHeads * kHeadSize + lane / 4];
  const float other_sum = piece[kTileHeads * (kHeadSize + 1) + lane / 4];
  if (other_sum == 0) return;  // a warp without pages
  const float most = fmaxf(state.most, other_most);
  const float keep = exp2f(state.most - most);
  const float add = exp2f(other_most - most);
  state.most = most;
  state.sum = state.sum * keep + other_sum * add;
#pragma unroll
  for (int n = 0; n < kHeadSize / 8; ++n) {
    const float2 other = reinterpret_cast<const float2*>(piece)[n * 32 + lane];
    state.values[n][0] = state.values[n][0] * keep + other.x * add;
    state.values[n][1] = state.values[n][1] * keep + other.y * add;
  }
}

// Sums up what the four warps of a unit have; the whole is with warp 0. `pieces`: two, in shared
// memory; barrier `barrier` is the warps'.
template <int kHeadSize>
__device__ void merge_warps(RunningSoftmax<kHeadSize>& state, float* pieces, int warp, int lane,
                            uint32_t barrier) {
  constexpr int kFloats = AttentionShape<kHeadSize>::kPieceFloats;
#pragma unroll
  for (auto& value : state.values) {
    value[0] += value[2];
    value[1] += value[3];
  }
  state.sum += __shfl_xor_sync(0xffffffffu, state.sum, 1);
  state.sum += __shfl_xor_sync(0xffffffffu, state.sum, 2);
  for (int stride = 1; stride < kUnitWarps; stride *= 2) {
    float* piece = pieces + warp / (2 * stride) * kFloats;
    ptx::named_barrier(barrier, kUnitWarps * 32);  // the piece is free again
    if (warp % (2 * stride) == stride) store_piece<kHeadSize>(piece, state, lane);
    ptx::named_barrier(barrier, kUnitWarps * 32);
    if (warp % (2 * stride) == 0) merge_piece<kHeadSize>(state, piece, lane);
  }
}

// state = `count` pieces, each `stride` floats after the one before, in order. The largest score
// comes first, so that every load is on its own.
template <int kHeadSize>
__device__ void sum_pieces(RunningSoftmax<kHeadSize>& state, const float* pieces, int32_t count,
                           int64_t stride, int heads, int lane) {
  state = RunningSoftmax<kHeadSize>{};
  if (lane / 4 >= heads) return;
  const float* mosts = pieces + heads * kHeadSize + lane / 4;
#pragma unroll 8
  for (int32_t i = 0; i < count; ++i) state.most = fmaxf(state.most, __ldcg(mosts + i * stride));
#pragma unroll 2
  for (int32_t i = 0; i < count; ++i) {
    const float* piece = pieces + i * stride;
    const float share = exp2f(__ldcg(mosts + i * stride) - state.most);
    state.sum += share * __ldcg(mosts + i * stride + heads);
#pragma unroll
    for (int n = 0; n < kHeadSize / 8; ++n) {
      const float2 values = __ldcg(reinterpret_cast<const float2*>(piece) + n * heads * 4 + lane);
      state.values[n][0] += share * values.x;
      state.values[n][1] += share * values.y;
    }
  }
}

template <int kHeadSize>
__device__ void store_output(const AttentionParams& p, const AttentionUnit& unit,
                             const RunningSoftmax<kHeadSize>& state, int lane) {
  const int head = lane / 4;
  if (head >= unit.heads) return;
  const int64_t at = (unit.row * p.kv.heads + unit.first_head + head) * kHeadSize + lane % 4 * 2;
#pragma unroll
  for (int n = 0; n < kHeadSize / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      store_element(p.out, at + n * 8 + i, p.out_dtype, state.values[n][i] / state.sum);
    }
  }
}

// One warp; true for the last of `count` to come, who then sees what the others stored before.
__device__ inline bool arrive_last_piece(uint32_t* counter, int32_t count, int lane) {
  __threadfence();
  __syncwarp();
  int last = 0;
  if (lane == 0) {
    last = atomicAdd(counter, 1u) + 1 == static_cast<uint32_t>(count);
    if (last != 0) *counter = 0;
    __threadfence();
  }
  return __shfl_sync(0xffffffffu, last, 0) != 0;
}

// What the unit's warp 0 does with the whole: the output itself, or a piece of it. The warp
// that brings the last piece of a group of runs sums them up in order, and the one that brings the
// last group of a row the groups: one warp would need 1 us for every few pieces of a long row.
template <int kHeadSize>
__device__ void finish_unit(const AttentionParams& p, const AttentionUnit& unit,
                            RunningSoftmax<kHeadSize>& state, int lane) {
  if (unit.splits == 1) return store_output<kHeadSize>(p, unit, state, lane);
  const int64_t place = (unit.row * p.kv.kv_heads + unit.kv_head) * p.tiles + unit.tile;
  const int32_t group_room = (p.piece_room + kGroupRuns - 1) / kGroupRuns;
  const int64_t floats = p.tile_heads * (kHeadSize + 2);
  float* pieces = p.pieces + place * p.piece_room * floats;
  uint32_t* arrivals = p.arrivals + place * (1 + group_room);
  const int32_t groups = (unit.splits + kGroupRuns - 1) / kGroupRuns;
  const int32_t group = unit.split / kGroupRuns;
  const int32_t first = group * kGroupRuns;
  const int32_t count = min(unit.splits - first, kGroupRuns);
  store_piece<kHeadSize>(pieces + unit.split * floats, state, lane, unit.heads);
  if (!arrive_last_piece(arrivals + 1 + group, count, lane)) return;
  sum_pieces<kHeadSize>(state, pieces + first * floats, count, floats, unit.heads, lane);
  if (groups > 1) {
    __syncwarp();
    store_piece<kHeadSize>(pieces + first * floats, state, lane, unit.heads);
    if (!arrive_last_piece(arrivals, groups, lane)) return;
    sum_pieces<kHeadSize>(state, pieces, groups, kGroupRuns * floats, unit.heads, lane);
  }
  store_output<kHeadSize>(p, unit, state, lane);
}

}  // namespace dak::cuda
