// Split matmul for decode on Hopper: out[m, n] = epilogue(x[m, k] w[n, k]^T), m <= 64, where each
// row block of w is read once from wherever it lies by bulk copies straight into shared memory.
//
// A thread block is persistent over its items (split_schedule.h). Its warps:
//   warpgroups  multiply: warpgroup g takes row block g of the group, m64nMk16 wgmma
//   next warp   issues the weight copies; for a reader, under the link's window
//   next        waits for the previous kernel, then issues the x tiles
//   next two    readers only: one times the arrivals, one runs the window's control loop
// Weights do not depend on the previous kernel, so with programmatic dependent launch the ring
// fills while that one still runs, as soon as its thread block has left the SM. (Asking L2 for more
// than that, by the previous kernel after its last copy or by this one once its ring is full, was
// 0.5 to 6 % slower at batch 1, the more so the more was asked for.)
#pragma once

#include "kernels/sm90_split_consume.cuh"
#include "kernels/sm90_split_matmul.h"
#include "kernels/sm90_split_stages.cuh"

namespace dak {

template <typename T, int kBatch>
__global__ __launch_bounds__(SplitMatmulShape<kBatch>::kThreads, 1) void sm90_split_matmul(
    const __grid_constant__ SplitMatmulParams params) {
  using Shape = SplitMatmulShape<kBatch>;
  extern __shared__ std::byte raw[];
  std::byte* stages = raw + (1024 - ptx::shared_address(raw) % 1024) % 1024;
  auto& shared =
      *reinterpret_cast<SplitMatmulShared<Shape>*>(stages + Shape::kStages * Shape::kStageBytes);
  static_assert(sizeof(shared) <= Shape::kControlBytes);

  // Through a shuffle, so that the compiler knows it to be the same in all lanes.
  const int warp = __shfl_sync(0xffffffff, static_cast<int>(threadIdx.x) / 32, 0);
  if (threadIdx.x == 0) {
    shared.ring.init(Shape::kConsumerWarps);
    shared.mailbox.init();
    ptx::fence_barrier_init();
  }
  __syncthreads();
  ptx::launch_dependents();

  RingPosition<Shape::kStages> at;
  if (warp < Shape::kConsumerWarps) {
    const SplitProduct product{.partials = params.partials,
                               .arrivals = params.arrivals,
                               .chunks = params.chunks,
                               .slice_chunks = params.slice_chunks,
                               .epilogue = params.epilogue};
    ptx::grid_dependency_wait();
    for (int32_t index = static_cast<int32_t>(blockIdx.x); index >= 0;
         index = params.items[index].next) {
      consume_item<T, Shape>(product, params.items[index], shared, stages, at, warp / 4,
                             static_cast<int>(threadIdx.x) % 128);
    }
    return;
  }
  if (threadIdx.x % 32 != 0) return;
  StageCursor<Shape> cursor{
      .items = params.items, .slice_chunks = params.slice_chunks, .chunks = params.chunks};
  cursor.load(static_cast<int32_t>(blockIdx.x));
  const int32_t tier = cursor.tier;
  if (warp == Shape::kConsumerWarps) {
    const uint64_t policy = ptx::policy_evict_first();
    RemoteIssue count;
    LocalInFlight<Shape> in_flight;
    do {
      if (tier == 0) {
        wait_empty<Shape>(shared, at);
        in_flight.wait(shared);
        issue_local_stage<Shape>(shared, stages, at.stage, cursor, policy);
      } else {
        issue_remote_stage<Shape>(shared, stages, at, cursor, count, policy);
      }
      at.advance();
    } while (cursor.advance());
  } else if (warp == Shape::kConsumerWarps + 1) {
    const uint64_t policy = ptx::policy_evict_last();
    ptx::grid_dependency_wait();
    do {
      wait_empty<Shape>(shared, at);
      issue_x<Shape>(shared, stages, at.stage, cursor, &params.x_map, policy);
      at.advance();
    } while (cursor.advance());
  } else if (tier == 0) {
    return;
  } else if (warp == Shape::kConsumerWarps + 2) {
    ArrivalTimes times;
    uint32_t arrived_stages = 0;
    do {
      time_stage<Shape>(shared, at, cursor, times);
      shared.mailbox.arrived_stages = ++arrived_stages;
      at.advance();
    } while (cursor.advance());
    shared.mailbox.finished = 1;
  } else {
    const int32_t begin = params.reader_begin[tier];
    run_window_control(params.links[tier], shared.mailbox,
                       static_cast<uint32_t>(static_cast<int32_t>(blockIdx.x) - begin),
                       static_cast<uint32_t>(params.reader_end[tier] - begin));
  }
}

}  // namespace dak
