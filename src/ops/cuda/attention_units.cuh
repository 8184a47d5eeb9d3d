// Attention's units of work: one row's query heads that share a KV head (8 at a time) over a run of
// pages. Runs are those of kv_layout.h, or whole rows.
#pragma once

#include "ops/cuda/kernels.h"

namespace dak::cuda {

// The warps that share a unit; each takes every fourth half page of a run.
inline constexpr int kUnitWarps = 4;
inline constexpr int kPagesAtOnce = kUnitWarps / 2;
inline constexpr int32_t kUnitPageTokens = kKvPageTokens;
inline constexpr int kHalfTokens = kUnitPageTokens / 2;

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

// Which units a thread block takes: first, first + stride, ... of those of one tier.
struct UnitShare {
  int32_t tier;
  int32_t first;
  int32_t stride;
};

// The first thread blocks are readers of the tiers that have runs; the others share the rest.
__device__ inline UnitShare share_of(const AttentionParams& p, int32_t block, int32_t blocks) {
  int32_t begin = 0;
  for (int32_t tier = 1; p.runs != nullptr && tier < kMaxTiers; ++tier) {
    if (p.runs[tier] == 0) continue;
    const int32_t readers = p.readers[static_cast<size_t>(tier)];
    if (block < begin + readers) return {.tier = tier, .first = block - begin, .stride = readers};
    begin += readers;
  }
  return {.tier = 0, .first = block - begin, .stride = blocks - begin};
}

// Walks the units of one thread block.
class UnitCursor {
 public:
  __device__ UnitCursor(const AttentionParams& params, const UnitShare& share)
      : p_(params),
        next_(share.first),
        stride_(share.stride),
        group_(static_cast<int32_t>(params.kv.heads / params.kv.kv_heads)),
        per_run_(static_cast<int32_t>(params.kv.kv_heads) * params.tiles) {
    int32_t runs = static_cast<int32_t>(params.kv.m);
    if (p_.runs != nullptr) {
      runs_ = p_.runs + kMaxTiers;
      for (int32_t tier = 0; tier < share.tier; ++tier) runs_ += p_.runs[tier];
      runs = static_cast<int32_t>(p_.runs[share.tier]);
    }
    total_ = runs * per_run_;
  }
  // False after the last.
  __device__ bool take(AttentionUnit& unit) {
    while (next_ < total_) {
      const int32_t run = next_ / per_run_;
      const int32_t place = next_ % per_run_;
      next_ += stride_;
      if (!enter_run(runs_ == nullptr ? run_entry(run, 0, 0) : runs_[run], unit)) continue;
      unit.kv_head = place / p_.tiles;
      unit.tile = place % p_.tiles;
      unit.first_head = unit.kv_head * group_ + unit.tile * kTileHeads;
      unit.heads = min(kTileHeads, group_ - unit.tile * kTileHeads);
      return true;
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
    unit.first_page = unit.begin / kUnitPageTokens;
    unit.last_page = (unit.end + kUnitPageTokens - 1) / kUnitPageTokens;
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
  const uint64_t* runs_ = nullptr;  // of this tier
  int32_t next_;
  int32_t stride_;
  int32_t group_;    // query heads that share a KV head
  int32_t per_run_;  // units
  int32_t total_;
};

}  // namespace dak::cuda
