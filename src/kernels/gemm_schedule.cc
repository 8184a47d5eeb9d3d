#include "kernels/gemm_schedule.h"

#include <algorithm>
#include <string>

#include "base/error.h"

namespace dak {
namespace {

void check(const TieredTensor& weight) {
  if (bytes_of(weight.dtype, 1) != 2) {
    throw_invalid(weight.name, "dtype", name(weight.dtype), "must be bf16 or f16");
  }
  if (std::ssize(weight.blocks) != row_blocks_of(weight.rows)) {
    throw_invalid(weight.name, "row blocks", std::to_string(weight.blocks.size()),
                  "contradict its number of rows");
  }
  for (const RowBlock& block : weight.blocks) {
    if (block.data == nullptr) throw_invalid(weight.name, "row block", {}, "has no address");
  }
}

// Row blocks of a group side by side, so that all thread blocks of its cluster can begin.
void list_fetches(GemmSchedule& schedule, const std::vector<TierIndex>& tiers) {
  for (TierIndex tier = 1; tier < kMaxTiers; ++tier) {
    schedule.fetch_begin[tier] = static_cast<int>(schedule.fetches.size());
    for (int first = 0; first < schedule.remote_blocks; first += kGroupBlocks) {
      const int end = std::min(first + kGroupBlocks, schedule.remote_blocks);
      for (int segment = 0; segment < schedule.segments; ++segment) {
        for (int block = first; block < end; ++block) {
          if (tiers[static_cast<size_t>(block)] == tier) {
            schedule.fetches.push_back({block, segment});
          }
        }
      }
    }
    schedule.fetch_end[tier] = static_cast<int>(schedule.fetches.size());
  }
}

}  // namespace

GemmSchedule make_gemm_schedule(const TieredTensor& weight) {
  check(weight);
  GemmSchedule schedule;
  schedule.chunks = static_cast<int>(padded_cols(weight.cols) / kChunkCols);
  schedule.segments = (schedule.chunks + kSegmentChunks - 1) / kSegmentChunks;
  std::vector<TierIndex> tiers;  // of the remote row blocks
  for (size_t i = 0; i < weight.blocks.size(); ++i) {
    const RowBlock& block = weight.blocks[i];
    schedule.traffic.add(block.tier, weight.block_bytes());
    if (block.tier == 0) continue;
    schedule.blocks.push_back(
        {block.data, static_cast<int32_t>(i), schedule.remote_blocks++, block.tier});
    tiers.push_back(block.tier);
  }
  schedule.remote_groups = (schedule.remote_blocks + kGroupBlocks - 1) / kGroupBlocks;
  for (size_t i = 0; i < weight.blocks.size(); ++i) {
    const RowBlock& block = weight.blocks[i];
    if (block.tier == 0) schedule.blocks.push_back({block.data, static_cast<int32_t>(i), -1, 0});
  }
  while (schedule.blocks.size() % kGroupBlocks != 0)
    schedule.blocks.push_back({nullptr, -1, -1, 0});
  list_fetches(schedule, tiers);
  return schedule;
}

int early_fetches(std::span<const GemmFetch> fetches, int slots) {
  const auto late =
      std::ranges::find_if(fetches, [slots](const GemmFetch& f) { return f.block >= slots; });
  return static_cast<int>(late - fetches.begin());
}

GemmOrdering order_groups(int groups, int remote_groups, int at_once, GemmOrder order) {
  const int local = groups - remote_groups;
  switch (order) {
    case GemmOrder::kFirst:
      return {.lead = 0, .span = remote_groups, .remote = remote_groups};
    case GemmOrder::kLast:
      return {.lead = local, .span = remote_groups, .remote = remote_groups};
    case GemmOrder::kSpread:
      break;
  }
  const int lead = std::min(at_once, local);
  return {.lead = lead, .span = groups - lead, .remote = remote_groups};
}

}  // namespace dak
