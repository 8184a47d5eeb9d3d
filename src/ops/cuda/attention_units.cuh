// Attention's units of work: one row's query heads that share a KV head (8 at a time) over a run of
// pages. A row's pages are cut into at most max_splits runs, by their number alone.
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
  int32_t split;
  int32_t splits;
};

// Runs of at least kMinRunPages, about equal, each whole rounds of kPagesAtOnce.
__device__ inline int32_t pages_per_split(int32_t pages, int32_t max_splits) {
  const int32_t splits = min((pages + kMinRunPages - 1) / kMinRunPages, max_splits);
  const int32_t unit = kPagesAtOnce * splits;
  return kPagesAtOnce * ((pages + unit - 1) / unit);
}

// Tokens and runs of a row; no runs for a row of no sequence.
struct RowRuns {
  int32_t begin;
  int32_t end;
  int32_t per;  // pages
  int32_t splits;
};

__device__ inline RowRuns runs_of(const AttentionParams& p, int32_t row) {
  const KvParams& kv = p.kv;
  const int32_t token = kv.rows[row].token;
  if (token < 0) return {};
  RowRuns runs{.begin = 0, .end = token + 1, .per = 0, .splits = 0};
  if (kv.window > 0 && runs.end > kv.window)
    runs.begin = runs.end - static_cast<int32_t>(kv.window);
  const int32_t pages = (runs.end + 63) / 64 - runs.begin / 64;
  runs.per = pages_per_split(pages, p.max_splits);
  runs.splits = (pages + runs.per - 1) / runs.per;
  return runs;
}

// before [m + 1] = the runs of all rows before each; by one warp.
__device__ inline void count_runs(const AttentionParams& p, int32_t* before, int lane) {
  int32_t total = 0;  // runs of the rows before this batch of 32
  for (int32_t base = 0; base < p.kv.m; base += 32) {
    const int32_t row = base + lane;
    const int32_t own = row < p.kv.m ? runs_of(p, row).splits : 0;
    int32_t sum = own;
    for (int step = 1; step < 32; step *= 2) {
      const int32_t left = __shfl_up_sync(0xffffffffu, sum, step);
      if (lane >= step) sum += left;
    }
    if (row < p.kv.m) before[row] = total + sum - own;
    total += __shfl_sync(0xffffffffu, sum, 31);
  }
  if (lane == 0) before[p.kv.m] = total;
}

// Walks the units of one thread block. `before` [m + 1]: runs of all rows before each.
class UnitCursor {
 public:
  // Takes units first, first + stride, ...
  __device__ UnitCursor(const AttentionParams& params, const int32_t* before, int32_t first,
                        int32_t stride)
      : p_(params),
        before_(before),
        next_(first),
        stride_(stride),
        group_(static_cast<int32_t>(params.kv.heads / params.kv.kv_heads)),
        per_run_(static_cast<int32_t>(params.kv.kv_heads) * params.tiles),
        total_(before[params.kv.m] * per_run_) {}
  // False after the last.
  __device__ bool take(AttentionUnit& unit) {
    if (next_ >= total_) return false;
    const int32_t run = next_ / per_run_;
    const int32_t place = next_ % per_run_;
    next_ += stride_;
    int32_t low = 0;  // the last row with before <= run
    int32_t high = static_cast<int32_t>(p_.kv.m) - 1;
    while (low < high) {
      const int32_t middle = (low + high + 1) / 2;
      if (before_[middle] <= run) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    const RowRuns runs = runs_of(p_, low);
    unit.row = low;
    unit.split = run - before_[low];
    unit.splits = runs.splits;
    unit.kv_head = place / p_.tiles;
    unit.tile = place % p_.tiles;
    unit.first_head = unit.kv_head * group_ + unit.tile * kTileHeads;
    unit.heads = min(kTileHeads, group_ - unit.tile * kTileHeads);
    unit.begin = runs.begin;
    unit.end = runs.end;
    unit.first_page = runs.begin / 64 + unit.split * runs.per;
    unit.last_page = min(unit.first_page + runs.per, (runs.end + 63) / 64);
    return true;
  }

 private:
  const AttentionParams& p_;
  const int32_t* before_;
  int32_t next_;
  int32_t stride_;
  int32_t group_;    // query heads that share a KV head
  int32_t per_run_;  // units
  int32_t total_;
};

}  // namespace dak::cuda
