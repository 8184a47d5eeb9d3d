// Attention's units of work: one row's query heads that share a KV head (8 at a time) over a run of
// pages. Runs are those of kv_layout.h, or whole rows.
#pragma once

#include "ops/cuda/kernels.h"

namespace dak::cuda {

// The warps that share a unit; each takes every fourth half page of a run.
inline constexpr int kUnitWarps = 4;
inline constexpr int kPagesAtOnce = kUnitWarps / 2;
inline constexpr int kHalfTokens = 32;  // of a page

// A unit's place, from its number.
struct AttentionUnit {
  int32_t row;
  int32_t kv_head;
  int32_t tile;  // of its query heads
  int32_t first_head;
  int32_t heads;
  int32_t begin;  // tokens
  int32_t end;
  int32_t first_page;  // of the run
  int32_t last_page;   // one past it
  int32_t split;       // among the row's runs
  int32_t splits;
  int32_t run_page;  // that bit 0 of `remote` is of
  uint32_t remote;   // pages that are not local
};

// Which units a thread block takes: first, first + stride, ... of those of `count` runs.
struct UnitShare {
  int32_t tier;
  int32_t first;
  int32_t stride;
  const uint64_t* runs;  // null: every row is one
  int32_t count;
};

// The units of tier 0, among `blocks` of which this one is number `block`.
__device__ inline UnitShare local_share(const AttentionParams& p, int32_t block, int32_t blocks) {
  const bool cut = p.runs != nullptr;
  return {.tier = 0,
          .first = block,
          .stride = blocks,
          .runs = cut ? p.runs + kMaxTiers : nullptr,
          .count = static_cast<int32_t>(cut ? p.runs[0] : static_cast<uint64_t>(p.kv.m))};
}

// The first thread blocks are readers of the tiers that have runs; the others share the rest.
__device__ inline UnitShare share_of(const AttentionParams& p, int32_t block, int32_t blocks) {
  if (p.runs == nullptr) return local_share(p, block, blocks);
  int32_t counts[kMaxTiers];  // all asked for at a time
#pragma unroll
  for (int32_t tier = 0; tier < kMaxTiers; ++tier) {
    counts[tier] = static_cast<int32_t>(p.runs[tier]);
  }
  int32_t begin = 0;
  int32_t offset = kMaxTiers + counts[0];
  UnitShare share{};
#pragma unroll
  for (int32_t tier = 1; tier < kMaxTiers; ++tier) {
    const int32_t readers = counts[tier] > 0 ? p.readers[static_cast<size_t>(tier)] : 0;
    if (block >= begin && block < begin + readers) {
      share = {.tier = tier,
               .first = block - begin,
               .stride = readers,
               .runs = p.runs + offset,
               .count = counts[tier]};
    }
    begin += readers;
    offset += counts[tier];
  }
  return share.tier > 0 ? share : local_share(p, block - begin, blocks - begin);
}

// Walks the units of one thread block.
class UnitCursor {
 public:
  __device__ UnitCursor(const AttentionParams& params, const UnitShare& share)
      : p_(params),
        first_(share.first),
        stride_(share.stride),
        runs_(share.runs),
        group_(static_cast<int32_t>(params.kv.heads / params.kv.kv_heads)),
        per_run_(static_cast<int32_t>(params.kv.kv_heads) * params.tiles),
        total_(share.count * per_run_) {}
  // Units that this thread block takes, some of which are none.
  __device__ int32_t count() const {
    return first_ < total_ ? (total_ - first_ + stride_ - 1) / stride_ : 0;
  }
  // The one with this number; false: there is none, for its row sees nothing of the run.
  __device__ bool enter(int32_t number, AttentionUnit& unit) const {
    const int32_t index = first_ + number * stride_;
    const int32_t run = index / per_run_;
    const int32_t place = index % per_run_;
    if (!enter_run(runs_ == nullptr ? run_entry(run, 0, 0) : runs_[run], unit)) return false;
    unit.kv_head = place / p_.tiles;
    unit.tile = place % p_.tiles;
    unit.first_head = unit.kv_head * group_ + unit.tile * kTileHeads;
    unit.heads = min(kTileHeads, group_ - unit.tile * kTileHeads);
    return true;
  }
  // The next one; false after the last.
  __device__ bool take(AttentionUnit& unit) {
    while (next_ < count()) {
      if (enter(next_++, unit)) return true;
    }
    return false;
  }

 private:
  // False: the row sees nothing of it, or belongs to no sequence.
  __device__ bool enter_run(uint64_t entry, AttentionUnit& unit) const {
    unit.row = static_cast<int32_t>(static_cast<uint32_t>(entry) >> 16);
    const int32_t token = p_.kv.rows[unit.row].token;
    if (token < 0) return false;
    unit.begin = 0;
    unit.end = token + 1;
    if (p_.kv.window > 0 && unit.end > p_.kv.window) {
      unit.begin = unit.end - static_cast<int32_t>(p_.kv.window);
    }
    unit.first_page = unit.begin / 64;
    unit.last_page = (unit.end + 63) / 64;
    unit.split = 0;
    unit.splits = 1;
    unit.run_page = 0;
    unit.remote = 0;
    if (runs_ == nullptr) return true;
    const auto run = static_cast<int32_t>(entry & 0xffff);
    unit.run_page = run * kRunPages;
    unit.remote = static_cast<uint32_t>(entry >> 32);
    const int32_t first = unit.first_page / kRunPages;
    const int32_t last = max(first, static_cast<int32_t>(last_run(unit.last_page)));
    if (run < first || run > last) return false;
    unit.first_page = max(unit.first_page, unit.run_page);
    if (run < last) unit.last_page = unit.run_page + kRunPages;
    unit.split = run - first;
    unit.splits = last - first + 1;
    return true;
  }

  const AttentionParams& p_;
  int32_t first_;
  int32_t stride_;
  const uint64_t* runs_;  // of this tier
  int32_t group_;    // query heads that share a KV head
  int32_t per_run_;  // units
  int32_t total_;
  int32_t next_ = 0;
};

}  // namespace dak::cuda
