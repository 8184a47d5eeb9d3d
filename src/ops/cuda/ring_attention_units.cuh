// Attention's units of work: what one row sees of a run of pages, or of a part of it (kv_layout.h),
// under all query heads that share a KV head. One warp of a thread block finds the next 32 at a
// time, a lane each, so that no copy waits for the list, the row and the address behind it.
#pragma once

#include "ops/cuda/kernels.h"

namespace dak::cuda::ring {

inline constexpr int kHalfTokens = 32;  // of a page: what one warp multiplies at a time
inline constexpr int kPageHalves = 2;

struct AttentionUnit {
  int32_t row;
  int32_t kv_head;
  int32_t first_head;
  int32_t heads;       // query heads, from first_head on
  int32_t first_tile;  // among all of the KV head
  int32_t begin;       // tokens that the row sees
  int32_t end;
  int32_t first_half;  // half pages of the unit
  int32_t last_half;   // one past it
  int32_t shared_run;  // its run is shared out by parts, as number so many of all; -1: it is not
  int32_t first_page;  // of the sequence, in the page table
  int32_t fresh;       // tokens of earlier passes
  uint32_t remote;     // pages that are not local; bit 0 is the run's first
  int32_t part_halves;

  __device__ int32_t run() const { return first_half / (kRunPages * kPageHalves); }
  __device__ bool is_remote(int32_t half) const {
    return (remote >> (half / kPageHalves - run() * kRunPages) & 1) != 0;
  }
};

// Which units a thread block takes: first, first + stride, ... of those of one tier.
struct UnitShare {
  int32_t tier;
  int32_t first;
  int32_t stride;
  int32_t first_block;  // of those that take this tier's
};

// Readers of a tier with `runs` of all. Where rows are short, runs with a remote page are much of
// all the work, local pages among it: as few readers as fill the link with long runs took 1.6 times
// as long as the link (7.3 ms a layer of OPT-30B, 512 rows of two pages). They are more only where
// the tier has a larger part of the runs than of the thread blocks: there the link is the bound,
// not HBM. More than kMostReaders may have more on the link than its window, for each may have a
// stage.
__device__ inline int32_t readers_of(const AttentionParams& p, int32_t tier, uint64_t all,
                                     int32_t blocks) {
  constexpr int32_t kMostReaders = 16;
  const auto share = static_cast<int32_t>(static_cast<uint64_t>(blocks) * p.runs[tier] / all);
  return max(min(share, kMostReaders), p.readers[static_cast<size_t>(tier)]);
}

// The first thread blocks are readers of the tiers that have runs; the others share the rest.
__device__ inline UnitShare share_of(const AttentionParams& p, int32_t block, int32_t blocks) {
  int32_t begin = 0;
  uint64_t all = 0;
  for (int32_t tier = 0; p.runs != nullptr && tier < kMaxTiers; ++tier) all += p.runs[tier];
  for (int32_t tier = 1; p.runs != nullptr && tier < kMaxTiers; ++tier) {
    if (p.runs[tier] == 0) continue;
    const int32_t readers = readers_of(p, tier, all, blocks);
    if (block < begin + readers) {
      return {.tier = tier, .first = block - begin, .stride = readers, .first_block = begin};
    }
    begin += readers;
  }
  return {.tier = 0, .first = block - begin, .stride = blocks - begin, .first_block = begin};
}

// Walks the units of one thread block; one warp.
class UnitFinder {
 public:
  __device__ UnitFinder(const AttentionParams& params, const UnitShare& share)
      : p_(params),
        next_(share.first),
        stride_(share.stride),
        group_(static_cast<int32_t>(params.kv.heads / params.kv.kv_heads)),
        per_run_(static_cast<int32_t>(params.kv.kv_heads) * params.passes),
        runs_(static_cast<int32_t>(params.kv.m)) {
    if (p_.runs != nullptr) {
      entries_ = p_.runs + kMaxTiers;
      for (int32_t tier = 0; tier < share.tier; ++tier) entries_ += p_.runs[tier];
      runs_ = static_cast<int32_t>(p_.runs[share.tier]);
    }
    total_ = runs_ * per_run_;
    whole_ = total_;
    if (p_.runs != nullptr && p_.tiles == 1) {
      whole_ = total_ / stride_ * stride_;  // then what is left over, by parts
      first_shared_ = share.first_block;
      total_ = whole_ + (total_ - whole_) * kRunParts;
    }
  }

  // The lane's one of the next 32 candidates; returns which lanes have one. All zero and done():
  // there are no more.
  __device__ uint32_t find(int lane, AttentionUnit& unit) {
    const int32_t index = next_ + lane * stride_;
    next_ += 32 * stride_;
    return __ballot_sync(0xffffffffu, index < total_ && make(index, unit));
  }
  __device__ bool done() const { return next_ >= total_; }

 private:
  // False: the row sees nothing of it, or belongs to no sequence.
  __device__ bool make(int32_t index, AttentionUnit& unit) const {
    int32_t part = 0;
    unit.shared_run = -1;
    if (index >= whole_) {
      const int32_t shared = (total_ - whole_) / kRunParts;
      part = (index - whole_) / shared;  // the first of all runs come first
      index -= part * shared;
      unit.shared_run = first_shared_ + index - whole_;
    }
    const int32_t run = index / per_run_;
    const int32_t place = index - run * per_run_;
    const uint64_t entry = entries_ == nullptr ? run_entry(run, 0, 0) : entries_[run];
    unit.row = static_cast<int32_t>(static_cast<uint32_t>(entry) >> 16);
    const KvRow row = p_.kv.rows[unit.row];
    if (row.token < 0) return false;
    unit.kv_head = place / p_.passes;
    unit.first_tile = place % p_.passes * p_.tiles;
    unit.first_head = unit.kv_head * group_ + unit.first_tile * kTileHeads;
    unit.heads = min(p_.tiles * kTileHeads, group_ - unit.first_tile * kTileHeads);
    unit.end = row.token + 1;
    unit.begin = p_.kv.window > 0 ? max(unit.end - static_cast<int32_t>(p_.kv.window), 0) : 0;
    unit.first_half = unit.begin / kHalfTokens;
    unit.last_half = (unit.end + kHalfTokens - 1) / kHalfTokens;
    unit.part_halves = unit.last_half;
    unit.first_page = row.first_page;
    unit.fresh = row.fresh;
    unit.remote = static_cast<uint32_t>(entry >> 32);
    if (entries_ == nullptr) return true;
    constexpr int32_t kRunHalves = kRunPages * kPageHalves;
    unit.part_halves = part_pages(p_.group_tiles) * kPageHalves;
    const int32_t from =
        static_cast<int32_t>(entry & 0xffff) * kRunHalves + part * unit.part_halves;
    const int32_t length = unit.shared_run < 0 ? kRunHalves : unit.part_halves;
    unit.first_half = max(unit.first_half, from);
    unit.last_half = min(unit.last_half, from + length);
    return unit.first_half < unit.last_half;
  }

  const AttentionParams& p_;
  const uint64_t* entries_ = nullptr;  // of this tier
  int32_t next_;
  int32_t stride_;
  int32_t group_;    // query heads that share a KV head
  int32_t per_run_;  // units
  int32_t runs_;
  int32_t total_;
  int32_t whole_;  // the first so many are whole runs
  int32_t first_shared_ = 0;
};

}  // namespace dak::cuda::ring
