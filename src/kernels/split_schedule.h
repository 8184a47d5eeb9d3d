// What each thread block reads in a split matmul: row blocks x slices of K, dealt to thread blocks.
// Host code without CUDA; the kernel only follows it.
//
//   slice   a fixed run of K, chosen from the shape alone. A row block's result adds up slice by
//           slice in one fixed order, whichever thread blocks computed them: that is why placement
//           never changes a bit. An item that starts at slice 0 adds as it goes and delivers one
//           piece; a later one delivers a piece a slice. The last item to arrive adds a row block's
//           pieces in order.
//   group   row blocks that one thread block multiplies side by side with one x tile.
//   item    a run of slices of one group.
//   reader  a thread block that reads only from one remote tier, under that link's window.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "memory/tier.h"
#include "memory/tiered_tensor.h"

namespace dak {

inline constexpr int kMaxSplitBatch =
    64;  // rows of x in a split matmul; products of more are GEMMs
inline constexpr int kMinSliceChunks = 4;
inline constexpr int kMaxGroupBlocks = 4;

// Row blocks in a group, by batch tile: x tiles grow with the batch, and a wider group shares them.
constexpr int group_blocks_of(int batch_tile) {
  return batch_tile <= 16 ? 1 : batch_tile <= 32 ? 2 : 4;
}

// 16 readers of ~190 KiB of shared memory keep 3 MiB in flight, twice what NVLink needs, and leave
// 116 SMs, which still reach 97 % of HBM's speed.
inline constexpr int kMostReaders = 16;
// What a reader can be counted on to read; a slower link takes fewer SMs from HBM. (One thread that
// issues and times reached 17 GB/s; a reader has two.)
inline constexpr double kReaderBytesPerS = 8e9;

// Thread blocks that read each tier.
using ReaderCounts = std::array<int, kMaxTiers>;
constexpr ReaderCounts most_readers() {
  ReaderCounts counts{};
  counts.fill(kMostReaders);
  return counts;
}
// 4 to kMostReaders, by the tier's measured bandwidth; unknown (0): kMostReaders.
int readers_for(double read_bytes_per_s);

struct alignas(16) WorkItem {
  const std::byte* blocks[kMaxGroupBlocks];  // each [64, padded cols], weight_layout.h
  int32_t block_index[kMaxGroupBlocks];      // row block number in the weight
  int32_t block_count;                       // 1..4
  int32_t tier;
  int32_t slice_begin;
  int32_t slice_end;
  int32_t next;         // this thread block's next item; -1: none
  int32_t first_slot;   // of the group; block g's slots start at first_slot + g * piece_count
  int32_t piece_first;  // of this item, within each block of the group
  int32_t piece_count;  // of each block of the group; 0: this item covers all of K
};
static_assert(sizeof(WorkItem) == 80);

struct SplitSchedule {
  std::vector<WorkItem> items;  // item i is thread block i's first
  int thread_blocks = 0;
  int chunks = 0;        // chunks of 64 columns along K
  int slice_chunks = 0;  // chunks in a slice; the last slice may have fewer
  int slot_count = 0;    // tiles of partial sums in the workspace
  // Thread blocks [reader_begin[t], reader_end[t]) read tier t; the rest read tier 0.
  std::array<int, kMaxTiers> reader_begin{};
  std::array<int, kMaxTiers> reader_end{};
  TierTraffic traffic;  // bytes one call reads from each tier
};

// Chunks in a slice for a weight of `cols` columns and a batch tile.
int slice_chunks_of(int64_t cols, int batch_tile);

// Deals the row blocks of a 16-bit weight to at most `sm_count` thread blocks. Throws
// kInvalidArgument when the number of blocks contradicts the shape, a block has no address, or an
// SM count cannot hold the readers of every tier.
SplitSchedule make_split_schedule(const TieredTensor& weight, int batch_tile, int sm_count,
                                  const ReaderCounts& readers = most_readers());

}  // namespace dak
