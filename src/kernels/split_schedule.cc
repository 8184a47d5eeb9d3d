#include "kernels/split_schedule.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/error.h"
#include "base/math.h"
#include "memory/weight_layout.h"

namespace dak {
namespace {

// The number of thread blocks that share `groups` whole, or 0 when that is too uneven. Uncut groups
// have no partial sums, whose reduction ends the kernel and costs about 4 us (160 KiB), more for a
// large batch; but fewer than 95 % of the SMs do not reach full HBM speed (H200: 112 of 132 reach
// 86 %, 128 reach 97 %). H200, m 8: [7168, 7168] 25.2 us whole on 112 SMs, 28.7 us cut;
// [7168, 28672] 100.0 and 95.6. Cut groups first, to hide their sums, was slower (105 for 94 us).
int64_t whole_group_shares(int64_t groups, int64_t group_bytes, int64_t thread_blocks,
                           int batch_tile) {
  const int64_t each = ceil_div(groups, thread_blocks);
  const int64_t used = ceil_div(groups, each);
  if (used * 100 >= thread_blocks * (batch_tile <= 16 ? 95 : 80)) return used;
  const int64_t uneven = each * group_bytes - groups * group_bytes / thread_blocks;
  return uneven <= 160 * 1024 ? used : 0;
}

struct Group {
  std::vector<int> blocks;
};

std::vector<Group> group_blocks(const std::vector<int>& blocks, int per_group) {
  std::vector<Group> groups;
  for (size_t i = 0; i < blocks.size(); i += static_cast<size_t>(per_group)) {
    const size_t end = std::min(blocks.size(), i + static_cast<size_t>(per_group));
    groups.push_back({{blocks.begin() + static_cast<ptrdiff_t>(i),
                       blocks.begin() + static_cast<ptrdiff_t>(end)}});
  }
  return groups;
}

struct Deal {
  const TieredTensor& weight;
  int slices;
  SplitSchedule& schedule;
  std::vector<std::vector<WorkItem>> per_thread_block;

  // Equal contiguous shares of (group, slice), weighted by blocks, to thread blocks
  // [first, first + count); uncut groups if `whole_groups`.
  void groups(const std::vector<Group>& list, int tier, int first, int count, bool whole_groups) {
    int64_t index = 0;
    int64_t total = 0;
    for (const Group& group : list) total += static_cast<int64_t>(group.blocks.size()) * slices;
    int64_t dealt = 0;
    for (const Group& group : list) {
      const auto width = static_cast<int64_t>(group.blocks.size());
      std::vector<std::array<int, 3>> runs;  // owner, slice begin, slice end
      for (int slice = 0; slice < slices; ++slice, dealt += width) {
        // The owner of the unit's middle, so that rounding errs to both sides.
        const int64_t share = whole_groups ? index * count / static_cast<int64_t>(list.size())
                                           : (2 * dealt + width) * count / (2 * total);
        const int owner = first + static_cast<int>(share);
        if (runs.empty() || runs.back()[0] != owner) runs.push_back({owner, slice, slice});
        runs.back()[2] = slice + 1;
      }
      ++index;
      const int merged = runs.front()[2];  // slices in the first piece
      const int pieces = merged == slices ? 0 : 1 + slices - merged;
      for (const auto& [owner, begin, end] : runs) {
        WorkItem item{};
        for (size_t g = 0; g < group.blocks.size(); ++g) {
          item.blocks[g] = weight.blocks[static_cast<size_t>(group.blocks[g])].data;
          item.block_index[g] = group.blocks[g];
        }
        item.block_count = static_cast<int32_t>(width);
        item.tier = tier;
        item.slice_begin = begin;
        item.slice_end = end;
        item.next = -1;
        item.first_slot = schedule.slot_count;
        item.piece_first = begin == 0 ? 0 : 1 + begin - merged;
        item.piece_count = pieces;
        per_thread_block[static_cast<size_t>(owner)].push_back(item);
      }
      schedule.slot_count += pieces * static_cast<int>(width);
    }
  }

  // A share may round to nothing when groups differ in width; such thread blocks are not launched.
  // Returns how many of the thread blocks from `first` on remain.
  int drop_idle(int first) {
    const auto begin = per_thread_block.begin() + first;
    per_thread_block.erase(std::remove_if(begin, per_thread_block.end(),
                                          [](const auto& list) { return list.empty(); }),
                           per_thread_block.end());
    return static_cast<int>(per_thread_block.size()) - first;
  }

  void flatten() {
    std::vector<WorkItem>& items = schedule.items;
    for (const auto& list : per_thread_block) items.push_back(list.front());
    for (size_t owner = 0; owner < per_thread_block.size(); ++owner) {
      size_t last = owner;
      for (size_t i = 1; i < per_thread_block[owner].size(); ++i) {
        items[last].next = static_cast<int32_t>(items.size());
        last = items.size();
        items.push_back(per_thread_block[owner][i]);
      }
    }
  }
};

void check(const TieredTensor& weight) {
  if (bytes_of(weight.dtype, 1) != 2 || is_quantised(weight.dtype)) {
    throw_invalid(weight.name, "dtype", name(weight.dtype), "the split matmul takes bf16 or f16");
  }
  const int64_t expected = row_blocks_of(weight.rows);
  if (weight.rows <= 0 || weight.cols <= 0 ||
      static_cast<int64_t>(weight.blocks.size()) != expected) {
    throw_invalid(weight.name, "row blocks", std::to_string(weight.blocks.size()),
                  "the shape needs " + std::to_string(expected));
  }
  for (const RowBlock& block : weight.blocks) {
    if (block.data == nullptr || reinterpret_cast<uintptr_t>(block.data) % 16 != 0) {
      throw_invalid(weight.name, "row block address", {}, "missing or not 16-byte aligned");
    }
    if (block.tier >= kMaxTiers) {
      throw_invalid(weight.name, "tier", std::to_string(block.tier), "out of range");
    }
  }
}

}  // namespace

int slice_chunks_of(int64_t cols, int batch_tile) {
  // 16 slices let 16 readers share one row block and cost no more than 3 % of balance; pieces of
  // a large batch are large, so fewer of them.
  const int64_t slices = batch_tile <= 16 ? 16 : 8;
  const int64_t chunks = padded_cols(cols) / kChunkCols;
  int slice_chunks = kMinSliceChunks;
  while (slice_chunks * slices < chunks) slice_chunks *= 2;
  return slice_chunks;
}

int readers_for(double read_bytes_per_s) {
  if (read_bytes_per_s <= 0) return kMostReaders;
  return static_cast<int>(
      std::clamp(std::ceil(read_bytes_per_s / kReaderBytesPerS), 4.0, double{kMostReaders}));
}

SplitSchedule make_split_schedule(const TieredTensor& weight, int batch_tile, int sm_count,
                                  const ReaderCounts& readers) {
  check(weight);
  SplitSchedule schedule;
  schedule.chunks = static_cast<int>(padded_cols(weight.cols) / kChunkCols);
  schedule.slice_chunks = slice_chunks_of(weight.cols, batch_tile);
  const int slices = static_cast<int>(ceil_div(schedule.chunks, schedule.slice_chunks));

  std::array<std::vector<int>, kMaxTiers> by_tier;
  for (size_t i = 0; i < weight.blocks.size(); ++i) {
    by_tier[weight.blocks[i].tier].push_back(static_cast<int>(i));
    schedule.traffic.add(weight.blocks[i].tier, weight.block_bytes());
  }

  Deal deal{weight, slices, schedule, {}};
  int next = 0;
  const auto add_share = [&](int tier, int most) {
    const auto& blocks = by_tier[static_cast<size_t>(tier)];
    if (blocks.empty()) return;
    int width = group_blocks_of(batch_tile);
    // A few remote row blocks: rather one reader for each than one for all.
    while (tier > 0 && width > 1 &&
           ceil_div(static_cast<int64_t>(blocks.size()), width) * slices < most) {
      width /= 2;
    }
    const auto groups = group_blocks(blocks, width);
    const auto count = static_cast<int64_t>(groups.size());
    int share = static_cast<int>(std::min<int64_t>(most, count * slices));
    // Readers are few and slow, so a rounded share would show; their pieces do not.
    const int64_t whole =
        tier == 0 ? whole_group_shares(count, width * weight.block_bytes(), most, batch_tile) : 0;
    if (whole > 0) share = static_cast<int>(whole);
    deal.per_thread_block.resize(static_cast<size_t>(next) + static_cast<size_t>(share));
    deal.groups(groups, tier, next, share, whole > 0);
    share = deal.drop_idle(next);
    if (tier > 0) {
      schedule.reader_begin[static_cast<size_t>(tier)] = next;
      schedule.reader_end[static_cast<size_t>(tier)] = next + share;
    }
    next += share;
  };
  // Readers come first: the link is the longer way, so its first bytes should leave first.
  for (int tier = 1; tier < kMaxTiers; ++tier) add_share(tier, readers[static_cast<size_t>(tier)]);
  if (next >= sm_count && !by_tier[0].empty()) {
    throw_invalid(weight.name, "SMs", std::to_string(sm_count),
                  "too few for the readers of every remote tier");
  }
  if (!by_tier[0].empty()) add_share(0, sm_count - next);
  schedule.thread_blocks = next;
  deal.flatten();
  return schedule;
}

}  // namespace dak
