// Attention's sums: what warps leave of a part, parts of a run, runs of a row, always in that order
// and each with its neighbours in theirs, whichever warps computed them.
//
// The warps that do so have the unit's values shared out among them: lane l of warp w takes values
// 4 (32 (kMergeWarps i + w) + l) .. + 3 of [heads, head_size], i = 0, 1, .., and every warp has its
// own counters, so that none waits for another.
#pragma once

#include "kernels/element.cuh"
#include "ops/cuda/ring_attention_shared.cuh"

namespace dak::cuda::ring {

template <int kHeadSize>
struct MergeState {
  static constexpr int kQuads = kHeadSize / 4;  // of a head's values
  static constexpr int kShares = (kTileHeads * kQuads + 32 * kMergeWarps - 1) / (32 * kMergeWarps);
  float4 values[kShares] = {};
  float most[kShares];
  float sum[kShares] = {};

  __device__ MergeState() {
    for (float& value : most) value = -INFINITY;
  }
  static __device__ int quad(int share, int warp, int lane) {
    return 32 * (kMergeWarps * share + warp) + lane;
  }
  __device__ void add(int share, float other_most, float other_sum, float4 other) {
    if (other_sum == 0) return;  // no token was seen
    const float both = fmaxf(most[share], other_most);
    const float keep = ptx::exp2_approx(most[share] - both);
    const float take = ptx::exp2_approx(other_most - both);
    most[share] = both;
    // Spelled out: in another place the compiler could fuse the other product.
    const auto sum_of = [&](float old, float more) {
      return fmaf(more, take, __fmul_rn(old, keep));
    };
    sum[share] = sum_of(sum[share], other_sum);
    values[share].x = sum_of(values[share].x, other.x);
    values[share].y = sum_of(values[share].y, other.y);
    values[share].z = sum_of(values[share].z, other.z);
    values[share].w = sum_of(values[share].w, other.w);
  }
  __device__ void add(const MergeState& other) {
#pragma unroll
    for (int i = 0; i < kShares; ++i) add(i, other.most[i], other.sum[i], other.values[i]);
  }
};

// Where one tile of a row's KV head keeps its pieces and counters.
struct MergePlace {
  float* pieces;       // [n, floats]
  uint32_t* arrivals;  // [n, kMergeWarps]
  int64_t floats;
  int heads;
  int warp;
  int lane;
};

template <int kHeadSize>
__device__ void store_piece(const MergePlace& place, int32_t part,
                            const MergeState<kHeadSize>& state) {
  using State = MergeState<kHeadSize>;
  float* piece = place.pieces + part * place.floats;
  float* scalars = piece + place.heads * (kHeadSize + 2 * place.warp);
#pragma unroll
  for (int i = 0; i < State::kShares; ++i) {
    const int quad = State::quad(i, place.warp, place.lane);
    const int head = quad / State::kQuads;
    if (head >= place.heads) continue;
    reinterpret_cast<float4*>(piece)[quad] = state.values[i];
    if (place.lane != 0 && quad % State::kQuads != 0) continue;
    scalars[head] = state.most[i];
    scalars[place.heads + head] = state.sum[i];
  }
}

// `count` pieces, each `stride` after the one before: as many on their way together as there are in
// a group.
template <int kHeadSize>
__device__ MergeState<kHeadSize> sum_pieces(const MergePlace& place, int32_t first, int32_t count,
                                            int32_t stride) {
  using State = MergeState<kHeadSize>;
  __syncwarp();
  State state;
#pragma unroll
  for (int i = 0; i < State::kShares; ++i) {
    if (State::quad(i, place.warp, 0) / State::kQuads >= place.heads) break;
    const int quad = State::quad(i, place.warp, place.lane);
    const int head = quad / State::kQuads;
    const bool mine = head < place.heads;
    for (int32_t begin = 0; begin < count; begin += kGroupRuns) {
      float4 values[kGroupRuns];
      float most[kGroupRuns];
      float sum[kGroupRuns];
#pragma unroll
      for (int n = 0; n < kGroupRuns; ++n) {
        sum[n] = 0;
        if (!mine || begin + n >= count) continue;
        const float* piece = place.pieces + (first + (begin + n) * stride) * place.floats;
        const float* scalars = piece + place.heads * (kHeadSize + 2 * place.warp);
        values[n] = __ldcg(reinterpret_cast<const float4*>(piece) + quad);
        most[n] = __ldcg(scalars + head);
        sum[n] = __ldcg(scalars + place.heads + head);
      }
#pragma unroll
      for (int n = 0; n < kGroupRuns; ++n) state.add(i, most[n], sum[n], values[n]);
    }
  }
  __syncwarp();
  return state;
}

// True for the last of `count` to come, who then sees what the others stored before.
__device__ inline bool arrive_last(const MergePlace& place, int32_t counter, int32_t count) {
  uint32_t* word = place.arrivals + counter * kMergeWarps + place.warp;
  __syncwarp();
  int last = 0;
  if (place.lane == 0) {
    __threadfence();
    last = atomicAdd(word, 1u) + 1 == static_cast<uint32_t>(count);
    if (last != 0) {
      *word = 0;
      __threadfence();
    }
  }
  return __shfl_sync(0xffffffffu, last, 0) != 0;
}

// What several thread blocks have of a row is summed up by the one that brings the last piece: the
// parts of a run, the runs of a group, the groups. False: others are still to come. It has to be
// quick: the latest does it and so comes later still, round after round. (With four pieces on their
// way at a time one sequence of 131,072 tokens, 4 heads to a KV head, took 0.202 ms, with all of a
// group 0.190; HBM needs 0.119.)
template <int kHeadSize>
__device__ bool sum_row(const AttentionParams& p, const AttentionUnit& unit,
                        const MergePlace& place, MergeState<kHeadSize>& state) {
  constexpr int32_t kRunHalves = kRunPages * kPageHalves;
  const int32_t first_seen = unit.begin / kHalfTokens;
  const int32_t last_seen = (unit.end + kHalfTokens - 1) / kHalfTokens;
  const int32_t run = unit.run();
  const int32_t first_run = first_seen / kRunHalves;
  const int32_t runs = (last_seen - 1) / kRunHalves - first_run + 1;
  const int32_t group = (run - first_run) / kGroupRuns;
  const int32_t group_run = first_run + group * kGroupRuns;
#pragma unroll 1
  for (int level = 0; level < 3; ++level) {
    MergePlace at = place;
    int32_t own = group_run;  // level 2: the groups
    int32_t counter = 0;
    int32_t first = first_run;
    int32_t count = (runs + kGroupRuns - 1) / kGroupRuns;
    int32_t stride = kGroupRuns;
    if (level == 0) {
      if (unit.shared_run < 0) continue;
      const int32_t first_part = max(first_seen, run * kRunHalves) / unit.part_halves;
      at.pieces = p.part_pieces + int64_t{unit.shared_run} * kRunParts * place.floats;
      at.arrivals = p.part_arrivals + unit.shared_run * kMergeWarps;
      own = unit.first_half / unit.part_halves - first_part;
      first = 0;
      count = (min(last_seen, (run + 1) * kRunHalves) - 1) / unit.part_halves - first_part + 1;
      stride = 1;
    } else if (level == 1) {
      own = run;
      counter = 1 + group;
      first = group_run;
      count = min(runs - group * kGroupRuns, kGroupRuns);
      stride = 1;
    }
    if (count == 1) continue;
    store_piece<kHeadSize>(at, own, state);
    if (!arrive_last(at, counter, count)) return false;
    state = sum_pieces<kHeadSize>(at, first, count, stride);
  }
  return true;
}

template <int kHeadSize>
__device__ void store_output(const AttentionParams& p, const AttentionUnit& unit, int tile,
                             const MergePlace& place, const MergeState<kHeadSize>& state) {
  using State = MergeState<kHeadSize>;
  const int64_t out =
      (int64_t{unit.row} * p.kv.heads + unit.first_head + tile * kTileHeads) * kHeadSize;
#pragma unroll
  for (int i = 0; i < State::kShares; ++i) {
    const int quad = State::quad(i, place.warp, place.lane);
    if (quad / State::kQuads >= place.heads) continue;
    const float4& values = state.values[i];
    const int64_t at = out + quad * 4;
    store_element(p.out, at, p.out_dtype, values.x / state.sum[i]);
    store_element(p.out, at + 1, p.out_dtype, values.y / state.sum[i]);
    store_element(p.out, at + 2, p.out_dtype, values.z / state.sum[i]);
    store_element(p.out, at + 3, p.out_dtype, values.w / state.sum[i]);
  }
}

// What the warps of a tile leave of a part, in their order; gives their places back.
template <int kHeadSize>
__device__ MergeState<kHeadSize> sum_states(AttentionShared<kHeadSize>& shared, int first_warp,
                                            int streams, uint32_t phase, const MergePlace& place) {
  using State = MergeState<kHeadSize>;
  using Shape = AttentionShape<kHeadSize>;
  State state;
  for (int warp = first_warp; warp < first_warp + streams; ++warp) {
    ptx::mbarrier_wait(&shared.state_full[warp], phase);
    const float* from = shared.states[warp];
#pragma unroll
    for (int i = 0; i < State::kShares; ++i) {
      const int quad = State::quad(i, place.warp, place.lane);
      const int head = quad / State::kQuads;
      if (head >= place.heads) continue;
      state.add(i, from[kTileHeads * Shape::kHeadStride + head],
                from[kTileHeads * (Shape::kHeadStride + 1) + head],
                *reinterpret_cast<const float4*>(from + head * Shape::kHeadStride +
                                                 quad % State::kQuads * 4));
    }
    __syncwarp();
    if (place.lane == 0) ptx::mbarrier_arrive(&shared.state_empty[warp]);
  }
  return state;
}

// One of the warps that sum up.
template <int kHeadSize>
__device__ void merge_units(const AttentionParams& p, AttentionShared<kHeadSize>& shared, int warp,
                            int lane) {
  const int streams = warp_share<kHeadSize>(p.tiles, 0).streams;
  const int64_t floats = piece_floats(p.tile_heads, kHeadSize);
  StatePosition states;
  UnitPosition slot;
  ptx::grid_dependency_wait();  // the kernel before may be this one
  for (;; slot.advance()) {
    ptx::mbarrier_wait(&shared.unit_full[slot.stage], slot.phase);
    const AttentionUnit unit = shared.units[slot.stage];
    if (unit.heads == 0) return;
    for (int tile = 0; tile < p.tiles; ++tile) {
      const int64_t at = (int64_t{unit.row} * p.kv.kv_heads + unit.kv_head) * p.group_tiles +
                         unit.first_tile + tile;
      const MergePlace place{.pieces = p.pieces + at * p.run_room * floats,
                             .arrivals = p.arrivals + at * (1 + p.group_room) * kMergeWarps,
                             .floats = floats,
                             .heads = max(min(unit.heads - tile * kTileHeads, kTileHeads), 0),
                             .warp = warp,
                             .lane = lane};
      // A unit of several parts has one tile.
      MergeState<kHeadSize> state =
          sum_states<kHeadSize>(shared, tile * streams, streams, states.phase, place);
      for (int32_t part = unit.first_half / unit.part_halves + 1;
           part * unit.part_halves < unit.last_half; ++part) {
        states.advance();
        state.add(sum_states<kHeadSize>(shared, tile * streams, streams, states.phase, place));
      }
      if (place.heads == 0) continue;
      if (p.runs != nullptr && !sum_row<kHeadSize>(p, unit, place, state)) continue;
      store_output<kHeadSize>(p, unit, tile, place, state);
    }
    states.advance();
    __syncwarp();
    if (lane == 0) ptx::mbarrier_arrive(&shared.unit_empty[slot.stage]);
  }
}

}  // namespace dak::cuda::ring
