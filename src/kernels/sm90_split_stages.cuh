// The stages of a split matmul's ring, and who fills them.
//
// A stage holds chunks of 64x64, of kRows row blocks times kCols steps along K, and the x tiles
// they share. More rows share x better; fewer split K among fewer thread blocks.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>

#include "kernels/link_window.cuh"
#include "kernels/ptx/bulk_copy.cuh"
#include "kernels/ptx/sync.cuh"
#include "kernels/ring.cuh"
#include "kernels/split_schedule.h"
#include "memory/weight_layout.h"

namespace dak {

// Shape of one instantiation. A part is one chunk: rows of row block part % kRows, columns of
// chunk part / kRows of the stage. `kControl`: bytes of shared memory beside the ring.
template <int kBatchTile, uint32_t kControl = 1024>
struct SplitMatmulShape {
  static constexpr int kBatch = kBatchTile;
  static constexpr int kRows = group_blocks_of(kBatch);
  // Small stages: a stage being multiplied is not in flight. (32 KiB stages held 112 thread blocks
  // to 36 GB/s each, where plain readers reach 41.)
  static constexpr int kParts = kRows > 2 ? kRows : 2;
  static constexpr int kCols = kParts / kRows;
  static constexpr int kValues = kBatch / 2;  // of a [64, kBatch] tile in each of 128 threads
  static constexpr int kTileValues = 64 * kBatch;
  static constexpr int kConsumerWarps = 4 * kRows;
  static constexpr int kThreads = (kConsumerWarps + 4) * 32;
  static constexpr uint32_t kChunkBytes = dak::kChunkBytes;
  static constexpr uint32_t kXTileBytes = kBatch * 128;
  static constexpr uint32_t kStageBytes = kParts * kChunkBytes + kCols * kXTileBytes;
  static constexpr uint32_t kControlBytes = kControl;
  static constexpr uint32_t kAlignBytes = 1024;  // the swizzle pattern repeats every 1024 bytes
  static constexpr int kStages = (227 * 1024 - kAlignBytes - kControlBytes) / kStageBytes;
  static constexpr uint32_t kSharedBytes = kStages * kStageBytes + kControlBytes + kAlignBytes;
};

template <typename Shape>
struct SplitMatmulShared {
  RingBarriers<Shape::kStages, Shape::kParts> ring;
  ReaderMailbox mailbox;
  volatile uint32_t issue_cycles[Shape::kStages][Shape::kParts];
  uint32_t is_last[Shape::kRows];
  static_assert(Shape::kStages >= 4);
};

// A stage's place in the weight, walking the item list.
template <typename Shape>
struct StageCursor {
  const WorkItem* items;
  int32_t slice_chunks;
  int32_t chunks;
  int32_t chunk = 0;  // first of the stage
  int32_t end = 0;
  int32_t block_count = 0;
  int32_t tier = 0;
  int32_t next = -1;
  const std::byte* blocks[Shape::kRows] = {};

  __device__ void load(int32_t index) {
    const WorkItem& work = items[index];
    chunk = work.slice_begin * slice_chunks;
    end = min(work.slice_end * slice_chunks, chunks);
    block_count = work.block_count;
    tier = work.tier;
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
  __device__ bool has_part(int part) const {
    return part % Shape::kRows < block_count && chunk + part / Shape::kRows < end;
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

template <typename Shape>
__device__ std::byte* part_in(std::byte* stages, uint32_t stage, int part) {
  return stages + stage * Shape::kStageBytes + static_cast<uint32_t>(part) * Shape::kChunkBytes;
}

// `bytes` of consecutive parts, from `part` on; completes on that part's barrier.
template <typename Shape>
__device__ void issue_parts(SplitMatmulShared<Shape>& shared, std::byte* stages, uint32_t stage,
                            int part, const std::byte* source, uint32_t bytes, uint64_t policy) {
  ptx::Barrier* full = &shared.ring.full[stage][part];
  ptx::mbarrier_arrive_expect_tx(full, bytes);
  ptx::bulk_copy(part_in<Shape>(stages, stage, part), source, bytes, full, policy);
}

// Local stages of one row block are contiguous: one copy, on the first part's barrier.
template <typename Shape>
__device__ constexpr bool one_copy_per_stage(int32_t tier) {
  return Shape::kRows == 1 && tier == 0;
}

template <typename Shape>
__device__ void wait_empty(SplitMatmulShared<Shape>& shared,
                           const RingPosition<Shape::kStages>& at) {
  ptx::mbarrier_wait(&shared.ring.empty[at.stage], at.phase ^ 1);
}

// A part that a stage lacks: its barrier goes through the phase like the others'.
template <typename Shape>
__device__ void skip_part(SplitMatmulShared<Shape>& shared, uint32_t stage, int part) {
  ptx::mbarrier_arrive(&shared.ring.full[stage][part]);
}

// Fills a free stage with local weights.
template <typename Shape>
__device__ void issue_local_stage(SplitMatmulShared<Shape>& shared, std::byte* stages,
                                  uint32_t stage, const StageCursor<Shape>& cursor,
                                  uint64_t policy) {
  if constexpr (one_copy_per_stage<Shape>(0)) {
    const int parts = min(Shape::kParts, cursor.end - cursor.chunk);
    issue_parts<Shape>(shared, stages, stage, 0, cursor.source(0),
                       static_cast<uint32_t>(parts) * Shape::kChunkBytes, policy);
    for (int part = 1; part < Shape::kParts; ++part) skip_part<Shape>(shared, stage, part);
  } else {
    for (int part = 0; part < Shape::kParts; ++part) {
      if (cursor.has_part(part)) {
        issue_parts<Shape>(shared, stages, stage, part, cursor.source(part), Shape::kChunkBytes,
                           policy);
      } else {
        skip_part<Shape>(shared, stage, part);
      }
    }
  }
}

// Holds a thread block's local copies to kLocalStages in flight: Little's law asks for no more
// (4.6 TB/s x 1.2 us over 132 SMs = 42 KB), and what is queued beyond delays every small access of
// a step: x, partial sums, counters, the kernels in between. The ring stays deep, to fill while
// consumers wait. (2 stages: 1 to 3 % slower than no limit; 3: 2 to 4 % faster; 5: half of that.)
template <typename Shape>
struct LocalInFlight {
  static constexpr uint32_t kLocalStages = 3;
  static_assert(kLocalStages < Shape::kStages);
  RingPosition<Shape::kStages> oldest;
  uint32_t count = 0;

  // Before each stage is issued.
  __device__ void wait(SplitMatmulShared<Shape>& shared) {
    if (count < kLocalStages) {
      ++count;
      return;
    }
    ptx::mbarrier_wait(&shared.ring.full[oldest.stage][0], oldest.phase);
    oldest.advance();
  }
};

// What the thread that issues a reader's copies counts.
struct RemoteIssue {
  uint32_t issued = 0;  // chunks
  uint32_t held_back = 0;
  uint32_t stages = 0;
};

// Waits for a free stage and fills it with remote weights: as many copies in flight as the
// reader's quota allows.
template <typename Shape>
__device__ void issue_remote_stage(SplitMatmulShared<Shape>& shared, std::byte* stages,
                                   const RingPosition<Shape::kStages>& at,
                                   const StageCursor<Shape>& cursor, RemoteIssue& count,
                                   uint64_t policy) {
  ReaderMailbox& box = shared.mailbox;
  // The stage's previous arrivals must have been timed too, or their phase could be overtaken.
  while (static_cast<int32_t>(count.stages - box.arrived_stages) >= Shape::kStages ||
         !ptx::mbarrier_test_wait(&shared.ring.empty[at.stage], at.phase ^ 1)) {
    if (count.issued == box.samples) box.idle = 1;
  }
  box.idle = 0;
  for (int part = 0; part < Shape::kParts; ++part) {
    if (!cursor.has_part(part)) {
      skip_part<Shape>(shared, at.stage, part);
      continue;
    }
    if (count.issued - box.samples >= box.quota) {
      box.limited = ++count.held_back;
      while (count.issued - box.samples >= box.quota) {
      }
    }
    shared.issue_cycles[at.stage][part] = ptx::cycle_count();
    issue_parts<Shape>(shared, stages, at.stage, part, cursor.source(part), Shape::kChunkBytes,
                       policy);
    ++count.issued;
  }
  ++count.stages;
}

// What the thread that times a reader's copies counts.
struct ArrivalTimes {
  uint32_t samples = 0;
  uint32_t delay_sum = 0;
  uint32_t min_delay = UINT32_MAX;
};

// Times a remote stage's copies as they arrive, in order.
template <typename Shape>
__device__ void time_stage(SplitMatmulShared<Shape>& shared, const RingPosition<Shape::kStages>& at,
                           const StageCursor<Shape>& cursor, ArrivalTimes& times) {
  ReaderMailbox& box = shared.mailbox;
  for (int part = 0; part < Shape::kParts; ++part) {
    if (!cursor.has_part(part)) continue;
    while (!ptx::mbarrier_test_wait(&shared.ring.full[at.stage][part], at.phase)) {
    }
    const uint32_t delay = ptx::cycle_count() - shared.issue_cycles[at.stage][part];
    box.delay_sum = times.delay_sum += delay;
    box.min_delay = times.min_delay = min(times.min_delay, delay);
    box.samples = ++times.samples;
  }
}

// Fetches the x tiles of a free stage. Beyond the last column the copy engine writes zeros.
template <typename Shape>
__device__ void issue_x(SplitMatmulShared<Shape>& shared, std::byte* stages, uint32_t stage,
                        const StageCursor<Shape>& cursor, const CUtensorMap* x_map,
                        uint64_t policy) {
  ptx::Barrier* full = &shared.ring.x_full[stage];
  ptx::mbarrier_arrive_expect_tx(full, Shape::kCols * Shape::kXTileBytes);
  for (int col = 0; col < Shape::kCols; ++col) {
    ptx::tensor_copy_2d(part_in<Shape>(stages, stage, Shape::kParts) +
                            static_cast<uint32_t>(col) * Shape::kXTileBytes,
                        x_map, (cursor.chunk + col) * 64, 0, full, policy);
  }
}

}  // namespace dak
