// Attention over 16-bit KV pages with tensor cores, for every row of a batch.
//
// Units of work: attention_units.cuh. Of every two pages of a run each of a thread block's four
// warps takes one half, with a running softmax of its own. Warps are merged pair by pair, then the
// runs in order by whichever thread block of them comes last. So the order of every sum follows
// from the row's token index, whatever the batch and the placement. (Runs of two pages: the last
// one ended 6 us after the others, which took 5; H200, 512 tokens.)
//
// The first thread blocks take the runs that have remote pages, under the link's window, and are so
// few that the others have HBM to themselves; these are done when their runs are, not when a page
// has come over the link.
//
// Pages are stored swizzled (kv_place), so that one bulk copy of a head's keys or values lands in
// shared memory free of bank conflicts. A warp loads its next keys while it multiplies values.
// (Thread blocks of eight warps, one an SM: 65 % of the bound for 32 rows of 512 tokens, because
// nothing was in flight while one ended and the next began.)
#pragma once

#include <new>

#include "kernels/ptx/bulk_copy.cuh"
#include "kernels/ptx/sync.cuh"
#include "ops/cuda/attention_tiles.cuh"
#include "ops/cuda/attention_units.cuh"
#include "ops/cuda/attention_window.cuh"
#include "ops/cuda/kernels.h"

namespace dak::cuda {

// The pages of one warp, over all its units. In shared memory: only lane 0 follows it, and
// registers are scarce.
class PageCursor {
 public:
  __device__ PageCursor(const UnitCursor& units, int warp) : units_(units), first_(warp / 2) {}
  __device__ bool advance() {
    page_ += kPagesAtOnce;
    while (page_ >= unit_.last_page) {
      if (!units_.take(unit_)) return false;
      page_ = unit_.first_page + first_;
    }
    return true;
  }
  __device__ const AttentionUnit& unit() const { return unit_; }
  __device__ int32_t page() const { return page_; }
  __device__ bool is_remote() const { return (unit_.remote >> (page_ - unit_.run_page) & 1) != 0; }

 private:
  UnitCursor units_;
  int first_;
  AttentionUnit unit_{};
  int32_t page_ = 0;
};

// Beside a warp's tiles: keys and values of half a page each.
template <int kHeadSize>
struct AttentionShared {
  float pieces[kUnitWarps / 2][AttentionShape<kHeadSize>::kPieceFloats];
  ptx::Barrier full[kUnitWarps][2];
  WarpWindow windows[kUnitWarps];
  alignas(PageCursor) std::byte cursors[kUnitWarps][sizeof(PageCursor)];

  static constexpr size_t kBytes =
      kUnitWarps * 2 * AttentionShape<kHeadSize>::kTileBytes + sizeof(AttentionShared<kHeadSize>);
};

template <typename T, int kHeadSize>
__global__ void __launch_bounds__(kUnitWarps * 32, AttentionShape<kHeadSize>::kBlocks)
    paged_attention_kernel(const __grid_constant__ AttentionParams p) {
  using Shape = AttentionShape<kHeadSize>;
  extern __shared__ __align__(128) std::byte tiles[];
  auto& shared =
      *reinterpret_cast<AttentionShared<kHeadSize>*>(tiles + kUnitWarps * 2 * Shape::kTileBytes);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 32, 0);
  std::byte* keys = tiles + warp * 2 * Shape::kTileBytes;
  std::byte* values = keys + Shape::kTileBytes;
  ptx::Barrier* full = shared.full[warp];
  WarpWindow& window = shared.windows[warp];
  const UnitShare share =
      share_of(p, static_cast<int32_t>(blockIdx.x), static_cast<int32_t>(gridDim.x));
  LinkState* link = share.tier > 0 ? p.links + share.tier : nullptr;

  ptx::launch_dependents();
  if (lane == 0) {
    ptx::mbarrier_init(full, 1);
    ptx::mbarrier_init(full + 1, 1);
    ptx::fence_barrier_init();
    if (link != nullptr) {
      window.begin();
      if (warp == 0) atomicAdd(&link->active_readers, 1u);
    }
  }
  __syncthreads();

  const uint64_t policy = ptx::policy_evict_first();
  const int64_t head_bytes = kKvPageTokens * kHeadSize * 2;
  // By lane 0. `which`: 0 keys, 1 values.
  const auto load = [&](const PageCursor& at, int which) {
    if (link != nullptr) window.issued(which, at.is_remote());
    const std::byte* page = p.kv.pages[p.kv.rows[at.unit().row].first_page + at.page()] +
                            (which * p.kv.kv_heads + at.unit().kv_head) * head_bytes +
                            warp % 2 * Shape::kTileBytes;
    ptx::mbarrier_arrive_expect_tx(full + which, Shape::kTileBytes);
    ptx::bulk_copy(keys + which * Shape::kTileBytes, page, Shape::kTileBytes, full + which, policy);
  };
  const auto wait = [&](int which, uint32_t phase) {
    ptx::mbarrier_wait(full + which, phase);
    if (link != nullptr && lane == 0) {
      window.arrived(which, *link, Shape::kTileBytes, warp, kUnitWarps);
    }
  };

  UnitCursor work(p, share);
  auto& loads = *reinterpret_cast<PageCursor*>(shared.cursors[warp]);
  bool loading = false;      // these two are lane 0's
  bool values_wait = false;  // for their keys: the window allows one copy
  bool early = false;
  if (lane == 0) {
    new (&loads) PageCursor(work, warp);
    loading = loads.advance();
    // The kernels before write no pages of earlier passes: those may come while they still run.
    early = loading && (loads.page() + 1) * kUnitPageTokens <= p.kv.rows[loads.unit().row].fresh;
    if (early) load(loads, 0);
    if (early) load(loads, 1);
  }
  ptx::grid_dependency_wait();
  if (loading && !early) {
    load(loads, 0);
    load(loads, 1);
  }

  uint32_t phase = 0;
  AttentionUnit unit{};
  while (work.take(unit)) {
    uint32_t query[Shape::kSteps][4];
    load_query<T, kHeadSize>(p.q + (unit.row * p.kv.heads + unit.first_head) * kHeadSize,
                             unit.heads, p.kv.scale, lane, query);
    RunningSoftmax<kHeadSize> state;
    for (int32_t page = unit.first_page + warp / 2; page < unit.last_page; page += kPagesAtOnce) {
      const int32_t first = page * kUnitPageTokens + warp % 2 * kHalfTokens;
      const int begin = max(unit.begin - first, 0);
      const int end = min(unit.end - first, kHalfTokens);
      float weights[4][2];
      wait(0, phase);
      if (values_wait) load(loads, 1);
      add_keys<T, kHeadSize>(query, keys, begin, end, lane, state, weights);
      __syncwarp();
      if (lane == 0) {
        loading = loads.advance();
        values_wait = loading && link != nullptr && window.both == 0;
        if (loading && !values_wait) load(loads, 0);
      }
      wait(1, phase);
      if (values_wait) load(loads, 0);
      if (begin > 0 || end < kHalfTokens) clear_rows<kHeadSize>(values, begin, end, lane);
      add_values<T, kHeadSize>(weights, values, lane, state);
      ptx::fence_proxy_async();  // the zeros of clear_rows before the next copy
      __syncwarp();
      if (loading && !values_wait) load(loads, 1);
      phase ^= 1;
    }
    merge_warps<kHeadSize>(state, shared.pieces[0], warp, lane, 1);
    if (warp == 0) finish_unit<kHeadSize>(p, unit, state, lane);
  }
  if (link == nullptr || lane != 0) return;
  window.report(*link, Shape::kTileBytes);
  if (warp == 0) atomicSub(&link->active_readers, 1u);
}

}  // namespace dak::cuda
