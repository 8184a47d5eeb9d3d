// Attention over 16-bit KV pages with tensor cores, for rows whose shape takes_ring (kv_layout.h).
//
// A thread block, one a multiprocessor, takes units of work (ring_attention_units.cuh) until none
// is left. Its warps:
//   the first ones   multiply half pages, each with a running softmax of its own (_tiles.cuh)
//   kMergeWarps      sum up what those leave of a part, and parts and runs (_sums.cuh)
//   next             fills the ring with half pages (_filler.cuh)
//   the last         readers: times the arrivals and controls the window; others: brings remote
//                    weights to the GEMMs that come next (_ahead.cuh)
// So no warp that multiplies waits for a list, an address, a counter or a fence; when each warp did
// all of it for itself, three quarters of its time went into that. Every sum's order follows from
// the row's token index, whatever the batch and the placement.
//
// The first thread blocks take the runs that have remote pages, under the link's window, and are so
// few that the others have HBM to themselves; these are done when their runs are, not when a page
// has come over the link.
//
// Pages are stored swizzled (kv_place), so that one bulk copy of a head's keys or values lands in
// shared memory free of bank conflicts.
#pragma once

#include "ops/cuda/kernels.h"
#include "ops/cuda/ring_attention_ahead.cuh"
#include "ops/cuda/ring_attention_filler.cuh"
#include "ops/cuda/ring_attention_sums.cuh"
#include "ops/cuda/ring_attention_tiles.cuh"

namespace dak::cuda::ring {

template <typename T, int kHeadSize>
__global__ void __launch_bounds__(AttentionShape<kHeadSize>::kThreads, 1)
    ring_attention_kernel(const __grid_constant__ AttentionParams p) {
  using Shape = AttentionShape<kHeadSize>;
  extern __shared__ __align__(128) std::byte raw[];
  std::byte* stages = raw + (128 - ptx::shared_address(raw) % 128) % 128;
  std::byte* chunk = stages + Shape::kStages * Shape::kStageBytes;
  auto& shared = *reinterpret_cast<AttentionShared<kHeadSize>*>(chunk + kFeedChunkBytes);
  static_assert(sizeof(shared) <= Shape::kControlBytes + sizeof(shared.states));
  const int lane = static_cast<int>(threadIdx.x) % 32;
  // Through a shuffle, so that the compiler knows it to be the same in all lanes.
  const int warp = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 32, 0);
  if (threadIdx.x == 0) shared.init();
  __syncthreads();
  ptx::launch_dependents();

  if (warp < Shape::kWarps) {
    return multiply_units<T, kHeadSize>(p, shared, stages, warp, lane);
  }
  if (warp < Shape::kWarps + kMergeWarps) {
    return merge_units<kHeadSize>(p, shared, warp - Shape::kWarps, lane);
  }
  const UnitShare share =
      share_of(p, static_cast<int32_t>(blockIdx.x), static_cast<int32_t>(gridDim.x));
  if (warp == Shape::kWarps + kMergeWarps) {
    RingFiller<kHeadSize>(p, shared, stages, share, lane).run();
  } else if (share.tier > 0 && lane == 0) {
    time_arrivals<kHeadSize>(
        shared,
        WindowControl(p.links[share.tier], shared.mailbox, static_cast<uint32_t>(share.first),
                      static_cast<uint32_t>(share.stride), Shape::kStageBytes));
    tell_reader_ended(p);
  } else if (share.tier == 0 && lane == 0) {
    read_for_gemms(p, shared, chunk, share);
  }
}

}  // namespace dak::cuda::ring
