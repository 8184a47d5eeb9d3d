// Split matmul for decode on Hopper: out[m, n] = epilogue(x[m, k] w[n, k]^T), m <= 64, where each
// row block of w is read once from wherever it lies by bulk copies straight into shared memory.
//
// A stage of the ring holds chunks of 64x64, of kRows row blocks times kCols steps along K, and the
// x tiles they share. More rows share x better; fewer split K among fewer thread blocks.
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

#include <cuda.h>

#include <cstddef>
#include <cstdint>

#include "kernels/link_window.cuh"
#include "kernels/ptx/bulk_copy.cuh"
#include "kernels/ptx/sync.cuh"
#include "kernels/ptx/wgmma.cuh"
#include "kernels/ring.cuh"
#include "kernels/sm90_split_epilogue.cuh"
#include "kernels/sm90_split_matmul.h"
#include "kernels/split_schedule.h"

namespace dak {

// Shape of one instantiation. A part is one chunk: rows of row block part % kRows, columns of
// chunk part / kRows of the stage.
template <int kBatch>
struct SplitMatmulShape {
  static constexpr int kRows = group_blocks_of(kBatch);
  // Small stages: a stage being multiplied is not in flight. (32 KiB stages held 112 thread blocks
  // to 36 GB/s each, where plain readers reach 41.)
  static constexpr int kParts = kRows > 2 ? kRows : 2;
  static constexpr int kCols = kParts / kRows;
  static constexpr int kValues = kBatch / 2;  // of a [64, kBatch] tile in each of 128 threads
  static constexpr int kTileValues = 64 * kBatch;
  static constexpr int kConsumerWarps = 4 * kRows;
  static constexpr int kThreads = (kConsumerWarps + 4) * 32;
  static constexpr uint32_t kChunkBytes = kWindowUnitBytes;
  static constexpr uint32_t kXTileBytes = kBatch * 128;
  static constexpr uint32_t kStageBytes = kParts * kChunkBytes + kCols * kXTileBytes;
  static constexpr uint32_t kControlBytes = 1024;
  static constexpr uint32_t kAlignBytes = 1024;
  static constexpr int kStages = (227 * 1024 - kAlignBytes - kControlBytes) / kStageBytes;
  static constexpr uint32_t kSharedBytes = kStages * kStageBytes + kControlBytes + kAlignBytes;
};

template <int kBatch>
struct SplitMatmulShared {
  using Shape = SplitMatmulShape<kBatch>;
  RingBarriers<Shape::kStages, Shape::kParts> ring;
  ReaderMailbox mailbox;
  volatile uint32_t issue_cycles[Shape::kStages][Shape::kParts];
  uint32_t is_last[Shape::kRows];
  static_assert(Shape::kStages >= 4);
};

// A stage's place in the weight, walking the item list.
template <int kBatch>
struct StageCursor {
  using Shape = SplitMatmulShape<kBatch>;
  const WorkItem* items;
  int32_t slice_chunks;
  int32_t chunks;
  int32_t chunk = 0;  // first of the stage
  int32_t end = 0;
  int32_t block_count = 0;
  int32_t next = -1;
  const std::byte* blocks[Shape::kRows] = {};

  __device__ void load(int32_t index) {
    const WorkItem& work = items[index];
    chunk = work.slice_begin * slice_chunks;
    end = min(work.slice_end * slice_chunks, chunks);
    block_count = work.block_count;
    next = work.next;
#pragma unroll
    for (int row = 0; row < Shape::kRows; ++row) blocks[row] = work.blocks[row];
  }
  // False at the end of the list.
  __device__ bool advance() {
    chunk += Shape::kCols;
    if (chunk < end) return true;
    if (next < 0) return false;
    load(next);
    return true;
  }
  // The next part of the stage at or after `part` that exists; kParts: none.
  __device__ int next_part(int part) const {
    while (part < Shape::kParts &&
           (part % Shape::kRows >= block_count || chunk + part / Shape::kRows >= end)) {
      ++part;
    }
    return part;
  }
  __device__ const std::byte* source(int part) const {
    const std::byte* block = blocks[0];
#pragma unroll
    for (int row = 1; row < Shape::kRows; ++row) {  // an index would put the array in local memory
      if (part % Shape::kRows == row) block = blocks[row];
    }
    return block + static_cast<int64_t>(chunk + part / Shape::kRows) * Shape::kChunkBytes;
  }
};

template <int kBatch>
__device__ std::byte* part_in(std::byte* stages, uint32_t stage, int part) {
  using Shape = SplitMatmulShape<kBatch>;
  return stages + stage * Shape::kStageBytes + static_cast<uint32_t>(part) * Shape::kChunkBytes;
}

// `bytes` of consecutive parts, from `part` on; completes on that part's barrier.
template <int kBatch>
__device__ void issue_parts(SplitMatmulShared<kBatch>& shared, std::byte* stages, uint32_t stage,
                            int part, const std::byte* source, uint32_t bytes, uint64_t policy) {
  ptx::Barrier* full = &shared.ring.full[stage][part];
  ptx::mbarrier_arrive_expect_tx(full, bytes);
  ptx::bulk_copy(part_in<kBatch>(stages, stage, part), source, bytes, full, policy);
}

// Local stages of one row block are contiguous: one copy, on the first part's barrier.
template <int kBatch>
__device__ constexpr bool one_copy_per_stage(int32_t tier) {
  return SplitMatmulShape<kBatch>::kRows == 1 && tier == 0;
}

template <int kBatch>
__device__ void produce_local(SplitMatmulShared<kBatch>& shared, std::byte* stages,
                              StageCursor<kBatch> cursor) {
  using Shape = SplitMatmulShape<kBatch>;
  const uint64_t policy = ptx::policy_evict_first();
  RingPosition<Shape::kStages> at;
  do {
    ptx::mbarrier_wait(&shared.ring.empty[at.stage], at.phase ^ 1);
    if constexpr (one_copy_per_stage<kBatch>(0)) {
      const int parts = min(Shape::kParts, cursor.end - cursor.chunk);
      issue_parts<kBatch>(shared, stages, at.stage, 0, cursor.source(0),
                          static_cast<uint32_t>(parts) * Shape::kChunkBytes, policy);
    } else {
      for (int part = cursor.next_part(0); part < Shape::kParts;
           part = cursor.next_part(part + 1)) {
        issue_parts<kBatch>(shared, stages, at.stage, part, cursor.source(part), Shape::kChunkBytes,
                            policy);
      }
    }
    at.advance();
  } while (cursor.advance());
}

// Issues a reader's copies: as many in flight as its quota allows.
template <int kBatch>
__device__ void produce_remote(SplitMatmulShared<kBatch>& shared, std::byte* stages,
                               StageCursor<kBatch> cursor) {
  using Shape = SplitMatmulShape<kBatch>;
  const uint64_t policy = ptx::policy_evict_first();
  ReaderMailbox& box = shared.mailbox;
  RingPosition<Shape::kStages> at;
  uint32_t issued = 0;
  uint32_t issued_stages = 0;
  uint32_t held_back = 0;
  do {
    // The stage's previous arrivals must have been timed too, or their phase could be overtaken.
    while (issued_stages - box.arrived_stages >= Shape::kStages ||
           !ptx::mbarrier_test_wait(&shared.ring.empty[at.stage], at.phase ^ 1)) {
      if (issued == box.samples) box.idle = 1;
    }
    box.idle = 0;
    ++issued_stages;
    for (int part = cursor.next_part(0); part < Shape::kParts; part = cursor.next_part(part + 1)) {
      if (issued - box.samples >= box.quota) {
        box.limited = ++held_back;
        while (issued - box.samples >= box.quota) {
        }
      }
      shared.issue_cycles[at.stage][part] = ptx::cycle_count();
      issue_parts<kBatch>(shared, stages, at.stage, part, cursor.source(part), Shape::kChunkBytes,
                          policy);
      ++issued;
    }
    at.advance();
  } while (cursor.advance());
}

// Times a reader's copies as they arrive, in order.
template <int kBatch>
__device__ void time_arrivals(SplitMatmulShared<kBatch>& shared, StageCursor<kBatch> cursor) {
  using Shape = SplitMatmulShape<kBatch>;
  ReaderMailbox& box = shared.mailbox;
  RingPosition<Shape::kStages> at;
  uint32_t samples = 0;
  uint32_t arrived_stages = 0;
  uint32_t delay_sum = 0;
  uint32_t min_delay = UINT32_MAX;
  do {
    for (int part = cursor.next_part(0); part < Shape::kParts; part = cursor.next_part(part + 1)) {
      while (!ptx::mbarrier_test_wait(&shared.ring.full[at.stage][part], at.phase)) {
      }
      const uint32_t delay = ptx::cycle_count() - shared.issue_cycles[at.stage][part];
      box.delay_sum = delay_sum += delay;
      box.min_delay = min_delay = min(min_delay, delay);
      box.samples = ++samples;
    }
    box.arrived_stages = ++arrived_stages;
    at.advance();
  } while (cursor.advance());
  box.finished = 1;
}

template <int kBatch>
__device__ void produce_x(const SplitMatmulParams& params, SplitMatmulShared<kBatch>& shared,
                          std::byte* stages, StageCursor<kBatch> cursor) {
  using Shape = SplitMatmulShape<kBatch>;
  const uint64_t policy = ptx::policy_evict_last();
  RingPosition<Shape::kStages> at;
  ptx::grid_dependency_wait();
  do {
    ptx::Barrier* full = &shared.ring.x_full[at.stage];
    ptx::mbarrier_wait(&shared.ring.empty[at.stage], at.phase ^ 1);
    ptx::mbarrier_arrive_expect_tx(full, Shape::kCols * Shape::kXTileBytes);
    for (int col = 0; col < Shape::kCols; ++col) {
      // Beyond the last column the copy engine writes zeros.
      ptx::tensor_copy_2d(part_in<kBatch>(stages, at.stage, Shape::kParts) +
                              static_cast<uint32_t>(col) * Shape::kXTileBytes,
                          &params.x_map, (cursor.chunk + col) * 64, 0, full, policy);
    }
    at.advance();
  } while (cursor.advance());
}

// Begins acc[c] = (or +=) weights[64, 64] x[kBatch, 64]^T for each chunk c of the stage. One
// accumulator a chunk: a wgmma this narrow is all latency, so chains must run side by side. No
// branches: ptxas serialises wgmmas (C7520) on paths it cannot prove uniform. Weights: core
// matrices of 128 bytes, 8 along K, so 128 bytes to the next 8 columns and 1024 to the next 8 rows.
// x: rows of 128 bytes, swizzled.
template <typename T, int kBatch>
__device__ void multiply_stage(
    float (&acc)[SplitMatmulShape<kBatch>::kCols][SplitMatmulShape<kBatch>::kValues],
    const std::byte* weights, const std::byte* x, int accumulate) {
  using Shape = SplitMatmulShape<kBatch>;
  const uint64_t a = ptx::matrix_descriptor(weights, 128, 1024, ptx::Swizzle::kNone);
  const uint64_t b = ptx::matrix_descriptor(x, 16, 1024, ptx::Swizzle::k128);
  ptx::wgmma_fence();
#pragma unroll
  for (int step = 0; step < 4; ++step) {
#pragma unroll
    for (int chunk = 0; chunk < Shape::kCols; ++chunk) {
      // 16 columns further: 256 bytes of core matrices, 32 bytes of a row; in units of 16 bytes.
      ptx::Wgmma<T, kBatch>::multiply(
          acc[chunk], a + chunk * (Shape::kRows * Shape::kChunkBytes / 16) + step * 16,
          b + chunk * (Shape::kXTileBytes / 16) + step * 2, step > 0 ? 1 : accumulate);
    }
  }
  ptx::wgmma_commit();
}

// The last stage of K may have fewer chunks: what it held before must not meet the zeros of x,
// since it may be NaN. Rare, so simple.
template <int kBatch>
__device__ void clear_missing(std::byte* stages, uint32_t stage, int row, int chunks, int thread) {
  using Shape = SplitMatmulShape<kBatch>;
  for (int col = chunks; col < Shape::kCols; ++col) {
    auto* part = reinterpret_cast<uint4*>(part_in<kBatch>(stages, stage, col * Shape::kRows + row));
    for (uint32_t i = static_cast<uint32_t>(thread); i < Shape::kChunkBytes / 16; i += 128) {
      part[i] = uint4{};
    }
  }
  ptx::fence_proxy_async();
  ptx::named_barrier(static_cast<uint32_t>(1 + row), 128);
}

// total = the pieces of one row block in order of slices. 64 loads in flight hide L2's latency.
template <int kBatch>
__device__ void reduce_pieces(float (&total)[kBatch / 2], const float* slots, int pieces,
                              int thread) {
  using Shape = SplitMatmulShape<kBatch>;
  constexpr int kTogether = 8;
  constexpr int kWidth = Shape::kValues < 8 ? Shape::kValues : 8;
#pragma unroll
  for (int base = 0; base < Shape::kValues; base += kWidth) {
    for (int first = 0; first < pieces; first += kTogether) {
      float values[kTogether][kWidth];
#pragma unroll
      for (int p = 0; p < kTogether; ++p) {
        const float* slot =
            slots + static_cast<int64_t>(min(first + p, pieces - 1)) * Shape::kTileValues;
#pragma unroll
        for (int i = 0; i < kWidth; ++i) values[p][i] = __ldcg(slot + (base + i) * 128 + thread);
      }
#pragma unroll
      for (int p = 0; p < kTogether; ++p) {
        if (first + p >= pieces) break;
#pragma unroll
        for (int i = 0; i < kWidth; ++i) {
          total[base + i] = first + p == 0 ? values[p][i] : total[base + i] + values[p][i];
        }
      }
    }
  }
}

template <int kBatch>
__device__ void store_piece(const float (&sum)[kBatch / 2], float* slot, int thread) {
#pragma unroll
  for (int i = 0; i < kBatch / 2; ++i) __stcg(slot + i * 128 + thread, sum[i]);
}

// Whether this warpgroup's `delivered` pieces were the row block's last. The barrier and thread 0's
// fence together order every thread's pieces before the count.
template <int kBatch>
__device__ bool arrive_last(SplitMatmulShared<kBatch>& shared, uint32_t* arrivals,
                            uint32_t delivered, uint32_t pieces, int row, int thread) {
  ptx::named_barrier(static_cast<uint32_t>(1 + row), 128);
  if (thread == 0) {
    __threadfence();
    const bool last = atomicAdd(arrivals, delivered) + delivered == pieces;
    if (last) *arrivals = 0;
    __threadfence();
    shared.is_last[row] = last;
  }
  ptx::named_barrier(static_cast<uint32_t>(1 + row), 128);
  return shared.is_last[row] != 0;
}

template <typename T, int kBatch>
__device__ void consume(const SplitMatmulParams& params, SplitMatmulShared<kBatch>& shared,
                        std::byte* stages, int row, int thread) {
  using Shape = SplitMatmulShape<kBatch>;
  RingPosition<Shape::kStages> at;
  uint32_t previous = 0;                    // stage whose products may still be in flight
  float acc[Shape::kCols][Shape::kValues];  // of this slice
  float total[Shape::kValues];              // of the slices so far, or of one
  ptx::grid_dependency_wait();
  for (int32_t index = static_cast<int32_t>(blockIdx.x); index >= 0;
       index = params.items[index].next) {
    const WorkItem& item = params.items[index];
    const bool has_row = row < item.block_count;
    const bool one_copy = one_copy_per_stage<kBatch>(item.tier);
    const int32_t slice_begin = item.slice_begin;
    const int32_t slice_end = item.slice_end;
    const int32_t pieces = item.piece_count;
    const bool merged = slice_begin == 0;
    float* slots =
        params.partials + static_cast<int64_t>(item.first_slot + row * pieces) * Shape::kTileValues;
    for (int32_t slice = slice_begin; slice < slice_end; ++slice) {
      const int32_t first = slice * params.slice_chunks;
      const int32_t end = min(first + params.slice_chunks, params.chunks);
      for (int32_t chunk = first; chunk < end; chunk += Shape::kCols) {
        const int parts = min(Shape::kCols, end - chunk);
        ptx::mbarrier_wait(&shared.ring.x_full[at.stage], at.phase);
        if (has_row) {
          ptx::mbarrier_wait(&shared.ring.full[at.stage][row], at.phase);
          for (int col = 1; col < parts && !one_copy; ++col) {
            ptx::mbarrier_wait(&shared.ring.full[at.stage][col * Shape::kRows + row], at.phase);
          }
          if (parts < Shape::kCols) clear_missing<kBatch>(stages, at.stage, row, parts, thread);
          multiply_stage<T, kBatch>(acc, part_in<kBatch>(stages, at.stage, row),
                                    part_in<kBatch>(stages, at.stage, Shape::kParts),
                                    chunk > first ? 1 : 0);
        }
        // One stage's products stay in flight; the one before is done and its stage free.
        ptx::wgmma_wait<1>();
        if (chunk > first && thread % 32 == 0) ptx::mbarrier_arrive(&shared.ring.empty[previous]);
        previous = at.stage;
        at.advance();
      }
      ptx::wgmma_wait<0>();
      if (thread % 32 == 0) ptx::mbarrier_arrive(&shared.ring.empty[previous]);
      if (!has_row) continue;
#pragma unroll
      for (int col = 0; col < Shape::kCols; ++col) {
#pragma unroll
        for (float& value : acc[col]) ptx::wgmma_pin(value);
      }
#pragma unroll
      for (int i = 0; i < Shape::kValues; ++i) {
        float sum = acc[0][i];
#pragma unroll
        for (int col = 1; col < Shape::kCols; ++col) sum += acc[col][i];
        total[i] = merged && slice > 0 ? total[i] + sum : sum;
      }
      if (!merged) {
        store_piece<kBatch>(total,
                            slots + static_cast<int64_t>(item.piece_first + slice - slice_begin) *
                                        Shape::kTileValues,
                            thread);
      }
    }
    if (!has_row) continue;
    if (pieces > 0) {
      if (merged) store_piece<kBatch>(total, slots, thread);
      const auto delivered = static_cast<uint32_t>(merged ? 1 : slice_end - slice_begin);
      if (!arrive_last<kBatch>(shared, params.arrivals + item.block_index[row], delivered,
                               static_cast<uint32_t>(pieces), row, thread)) {
        continue;
      }
      reduce_pieces<kBatch>(total, slots, pieces, thread);
    }
    store_outputs<kBatch>(params.epilogue, total, item.block_index[row], thread);
  }
}

template <typename T, int kBatch>
__global__ __launch_bounds__(SplitMatmulShape<kBatch>::kThreads, 1) void sm90_split_matmul(
    const __grid_constant__ SplitMatmulParams params) {
  using Shape = SplitMatmulShape<kBatch>;
  extern __shared__ std::byte raw[];
  // The swizzle pattern repeats every 1024 bytes.
  std::byte* stages = raw + (1024 - ptx::shared_address(raw) % 1024) % 1024;
  auto& shared =
      *reinterpret_cast<SplitMatmulShared<kBatch>*>(stages + Shape::kStages * Shape::kStageBytes);
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

  if (warp < Shape::kConsumerWarps) {
    consume<T, kBatch>(params, shared, stages, warp / 4, static_cast<int>(threadIdx.x) % 128);
    return;
  }
  if (threadIdx.x % 32 != 0) return;
  StageCursor<kBatch> cursor{
      .items = params.items, .slice_chunks = params.slice_chunks, .chunks = params.chunks};
  cursor.load(static_cast<int32_t>(blockIdx.x));
  const int32_t tier = params.items[blockIdx.x].tier;
  if (warp == Shape::kConsumerWarps) {
    if (tier == 0) {
      produce_local<kBatch>(shared, stages, cursor);
    } else {
      produce_remote<kBatch>(shared, stages, cursor);
    }
  } else if (warp == Shape::kConsumerWarps + 1) {
    produce_x<kBatch>(params, shared, stages, cursor);
  } else if (tier == 0) {
    return;
  } else if (warp == Shape::kConsumerWarps + 2) {
    time_arrivals<kBatch>(shared, cursor);
  } else {
    const int32_t begin = params.reader_begin[tier];
    run_window_control(params.links[tier], shared.mailbox,
                       static_cast<uint32_t>(static_cast<int32_t>(blockIdx.x) - begin),
                       static_cast<uint32_t>(params.reader_end[tier] - begin));
  }
}

}  // namespace dak
