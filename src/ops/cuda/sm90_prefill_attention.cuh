// Attention of many query rows a sequence on Hopper, over 16-bit KV pages in several tiers. Units
// of work, and why their order makes a row's bits depend on its token index alone: prefill_plan.h.
//
// A persistent thread block takes a tile of 128 query rows over a segment at a time. Its warps:
//   warpgroup 0   warp 0 takes units and brings keys and values, two pages at a time, by bulk copy;
//                 warp 1 copies remote pages to the ring in device memory; warps 2 and 3 bring the
//                 next unit's queries, rounded to 16 bits
//   1 and 2       64 query rows each: scores by wgmma from shared memory, softmax in registers,
//                 weights (rounded to 16 bits) times values by wgmma with A from registers. While
//                 the tensor cores multiply the values of one step and the keys of the next, the
//                 softmax of the step between runs; the two warpgroups take turns (named barriers),
//                 so that one's softmax is beside the other's products.
//
// Pages lie as wgmma's descriptors want them (kv_layout.h): keys K-major, values MN-major.
#pragma once

#include "ops/cuda/sm90_prefill_feed.cuh"
#include "ops/cuda/sm90_prefill_ring.cuh"
#include "ops/cuda/sm90_prefill_state.cuh"

namespace dak::cuda {

// Named barriers: 1 and 2 are the warpgroups' turns, 3 and 4 their own.
template <typename T, int kHeadSize>
__device__ void consume_prefill_units(const PrefillParams& p,
                                      const PrefillShared<PrefillShape<kHeadSize>>& shared,
                                      int half, int thread) {
  using Shape = PrefillShape<kHeadSize>;
  PrefillControl<Shape>& control = *shared.control;
  const int lane = thread % 32;
  const uint32_t my_turn = 1 + static_cast<uint32_t>(half);
  const uint32_t other_turn = 2 - static_cast<uint32_t>(half);
  const uint32_t own = 3 + static_cast<uint32_t>(half);
  if (half == 1) ptx::named_barrier_arrive(other_turn, 256);  // the first turn
  RingPosition<Shape::kStages> keys;
  RingPosition<Shape::kStages> values;
  const auto release = [&](ptx::Barrier* empty) {
    if (thread == 0) ptx::mbarrier_arrive(empty);
  };
  for (RingPosition<2> at;; at.advance()) {
    ptx::mbarrier_wait(&control.query_full[at.stage], at.phase);
    const PrefillUnit& unit = control.units[at.stage];
    if (unit.valid == 0) return;
    const std::byte* queries =
        shared.query(at.stage) + static_cast<uint32_t>(half) * (Shape::kQueryBytes / 2);
    const PrefillRows rows(p, unit, half * 64, thread);
    const int32_t end = unit.end;
    PrefillState<kHeadSize> state;
    float scores[kScores];
    uint32_t weights[kScores / 2];
    float shrink[2];
    state.most[0] = state.most[1] = -INFINITY;
    state.sum[0] = state.sum[1] = 0;

    int32_t tile = unit.begin;
    ptx::mbarrier_wait(&control.keys_full[keys.stage], keys.phase);
    multiply_keys<T, kHeadSize>(scores, queries, shared.keys(keys.stage));
    ptx::wgmma_wait<0>();
    pin(scores);
    release(&control.keys_empty[keys.stage]);
    keys.advance();
    if (!rows.see_all(tile * Shape::kTokens)) rows.mask(scores, tile * Shape::kTokens, lane);
    weigh<kHeadSize>(scores, state, shrink);
    pack_weights<T>(scores, weights);
    int accumulate = 0;
    for (++tile; tile < end; ++tile) {
      ptx::mbarrier_wait(&control.keys_full[keys.stage], keys.phase);
      ptx::named_barrier(my_turn, 256);
      multiply_keys<T, kHeadSize>(scores, queries, shared.keys(keys.stage));
      ptx::mbarrier_wait(&control.values_full[values.stage], values.phase);
      multiply_values<T, kHeadSize>(state.values, weights, shared.values(values.stage), accumulate);
      ptx::named_barrier_arrive(other_turn, 256);
      accumulate = 1;
      ptx::wgmma_wait<1>();
      pin(scores);
      release(&control.keys_empty[keys.stage]);
      keys.advance();
      if (!rows.see_all(tile * Shape::kTokens)) rows.mask(scores, tile * Shape::kTokens, lane);
      weigh<kHeadSize>(scores, state, shrink);
      ptx::wgmma_wait<0>();
      pin(state.values);
      release(&control.values_empty[values.stage]);
      values.advance();
#pragma unroll
      for (int i = 0; i < kHeadSize / 2; ++i) state.values[i] *= shrink[i / 2 % 2];
      pack_weights<T>(scores, weights);
    }
    ptx::mbarrier_wait(&control.values_full[values.stage], values.phase);
    const int32_t unseen = unit.seen - (end - 1) * Shape::kTokens;
    if (unseen < Shape::kTokens) {
      clear_unseen<kHeadSize>(shared.values(values.stage), unseen, thread);
      ptx::named_barrier(own, 128);
    }
    multiply_values<T, kHeadSize>(state.values, weights, shared.values(values.stage), accumulate);
    ptx::wgmma_wait<0>();
    pin(state.values);
    release(&control.values_empty[values.stage]);
    values.advance();
    if (p.tiers > 0 && thread == 0) ptx::add_release(prefill_done(p) + unit.counter, 1);
    finish_unit<kHeadSize>(p, unit, state, half, thread, own);
    release(&control.unit_empty[at.stage]);
  }
}

// The last thread block of the grid leaves the counters as it found them.
template <typename Shape>
__device__ void clear_prefill_counters(const PrefillParams& p, PrefillControl<Shape>& control) {
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    control.is_last = atomicAdd(&p.counters->blocks_done, 1u) + 1 == gridDim.x ? 1 : 0;
    __threadfence();
  }
  __syncthreads();
  if (control.is_last == 0) return;
  auto* words = reinterpret_cast<uint32_t*>(p.counters);
  const int32_t count = static_cast<int32_t>(sizeof(PrefillCounters) / 4) + p.groups + p.slots +
                        2 * p.plan.state_slots;
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < count; i += Shape::kThreads) words[i] = 0;
}

template <typename T, int kHeadSize>
__global__ void __launch_bounds__(PrefillShape<kHeadSize>::kThreads, 1)
    sm90_prefill_attention(const __grid_constant__ PrefillParams p) {
  using Shape = PrefillShape<kHeadSize>;
  extern __shared__ std::byte raw[];
  const PrefillShared<Shape> shared(raw);
  // Through a shuffle, so that the compiler knows it to be the same in all lanes.
  const int warp = __shfl_sync(0xffffffff, static_cast<int>(threadIdx.x) / 32, 0);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (threadIdx.x == 0) {
    PrefillControl<Shape>& control = *shared.control;
    for (int stage = 0; stage < Shape::kStages; ++stage) {
      ptx::mbarrier_init(&control.keys_full[stage], 1);
      ptx::mbarrier_init(&control.keys_empty[stage], 2);
      ptx::mbarrier_init(&control.values_full[stage], 1);
      ptx::mbarrier_init(&control.values_empty[stage], 2);
    }
    for (int i = 0; i < 2; ++i) {
      ptx::mbarrier_init(&control.unit_full[i], 1);
      ptx::mbarrier_init(&control.query_full[i], kQueryWarps * 32);
      ptx::mbarrier_init(&control.unit_empty[i], 2);
    }
    ptx::mbarrier_init(&control.copied, 1);
    ptx::fence_barrier_init();
  }
  __syncthreads();
  ptx::grid_dependency_wait();
  ptx::launch_dependents();
  if (warp < 4) {
    ptx::release_registers<56>();
    if (warp == 0) {
      feed_keys_and_values<Shape>(p, shared, lane);
    } else if (warp == 1) {
      if (lane == 0) read_pages_to_ring<Shape>(p, shared);
    } else {
      feed_queries<T, kHeadSize, Shape>(p, shared, (warp - 2) * 32 + lane);
    }
  } else {
    ptx::take_registers<224>();
    consume_prefill_units<T, kHeadSize>(p, shared, warp / 4 - 1,
                                        static_cast<int>(threadIdx.x) % 128);
  }
  __syncwarp();
  clear_prefill_counters<Shape>(p, *shared.control);
}

}  // namespace dak::cuda
