// Attention over 16-bit KV pages with tensor cores, for every row of a batch.
//
// Units of work: attention_units.h. Of every two pages of a run each of a thread block's four warps
// takes one half, with a running softmax of its own. Warps are merged pair by pair, then runs in
// order by whichever thread block of them comes last. So the order of every sum follows from the
// row's token index, whatever the batch and the placement. (Runs of two pages: the last one ended
// 6 us after the others, which took 5; H200, 512 tokens.)
//
// Pages are stored swizzled (kv_unit), so that one bulk copy of a head's keys or values lands in
// shared memory free of bank conflicts. A warp loads its next keys while it multiplies values.
// (Thread blocks of eight warps, one an SM: 65 % of the bound for 32 rows of 512 tokens, because
// nothing was in flight while one ended and the next began.)
#pragma once

#include "kernels/ptx/bulk_copy.cuh"
#include "kernels/ptx/sync.cuh"
#include "ops/cuda/attention_tiles.cuh"
#include "ops/cuda/attention_units.cuh"
#include "ops/cuda/kernels.h"

namespace dak::cuda {

// The pages of one warp, over all its units.
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

 private:
  UnitCursor units_;
  int first_;
  AttentionUnit unit_{};
  int32_t page_ = 0;
};

template <typename T, int kHeadSize>
__global__ void __launch_bounds__(kUnitWarps * 32, AttentionShape<kHeadSize>::kBlocks)
    paged_attention_kernel(const __grid_constant__ AttentionParams p) {
  using Shape = AttentionShape<kHeadSize>;
  extern __shared__ __align__(128) std::byte shared[];
  float* pieces = reinterpret_cast<float*>(shared + kUnitWarps * 2 * Shape::kTileBytes);
  auto* barriers = reinterpret_cast<ptx::Barrier*>(pieces + kUnitWarps / 2 * Shape::kPieceFloats);
  auto* before = reinterpret_cast<int32_t*>(barriers + 2 * kUnitWarps);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 32, 0);
  std::byte* keys = shared + warp * 2 * Shape::kTileBytes;
  std::byte* values = keys + Shape::kTileBytes;
  ptx::Barrier* keys_full = barriers + 2 * warp;
  ptx::Barrier* values_full = keys_full + 1;

  ptx::launch_dependents();
  if (warp == 0) count_runs(p, before, lane);
  if (lane == 0) {
    ptx::mbarrier_init(keys_full, 1);
    ptx::mbarrier_init(values_full, 1);
    ptx::fence_barrier_init();
  }
  __syncthreads();

  const uint64_t policy = ptx::policy_evict_first();
  const int64_t head_bytes = kKvPageTokens * kHeadSize * 2;
  const auto page_of = [&](const PageCursor& at) {
    return p.kv.pages[p.kv.rows[at.unit().row].first_page + at.page()] +
           at.unit().kv_head * head_bytes + warp % 2 * Shape::kTileBytes;
  };
  const auto load_keys = [&](const PageCursor& at) {
    if (lane != 0) return;
    ptx::mbarrier_arrive_expect_tx(keys_full, Shape::kTileBytes);
    ptx::bulk_copy(keys, page_of(at), Shape::kTileBytes, keys_full, policy);
  };
  const auto load_values = [&](const PageCursor& at) {
    if (lane != 0) return;
    ptx::mbarrier_arrive_expect_tx(values_full, Shape::kTileBytes);
    ptx::bulk_copy(values, page_of(at) + p.kv.kv_heads * head_bytes, Shape::kTileBytes, values_full,
                   policy);
  };

  const UnitCursor units(p, before, static_cast<int32_t>(blockIdx.x),
                         static_cast<int32_t>(gridDim.x));
  PageCursor loads(units, warp);
  bool loading = loads.advance();
  // Pages of earlier passes are nobody's result: they may come while the kernels before still run.
  const bool early = loading && (loads.page() + 1) * 64 <= p.kv.rows[loads.unit().row].fresh;
  if (early) {
    load_keys(loads);
    load_values(loads);
  }
  ptx::grid_dependency_wait();
  if (loading && !early) {
    load_keys(loads);
    load_values(loads);
  }

  uint32_t phase = 0;
  UnitCursor work = units;
  AttentionUnit unit{};
  while (work.take(unit)) {
    uint32_t query[Shape::kSteps][4];
    load_query<T, kHeadSize>(p.q + (unit.row * p.kv.heads + unit.first_head) * kHeadSize,
                             unit.heads, p.kv.scale, lane, query);
    RunningSoftmax<kHeadSize> state;
    for (int32_t page = unit.first_page + warp / 2; page < unit.last_page; page += kPagesAtOnce) {
      const int32_t first = page * 64 + warp % 2 * kHalfTokens;
      const int begin = max(unit.begin - first, 0);
      const int end = min(unit.end - first, kHalfTokens);
      float weights[4][2];
      ptx::mbarrier_wait(keys_full, phase);
      add_keys<T, kHeadSize>(query, keys, begin, end, lane, state, weights);
      __syncwarp();
      loading = loads.advance();
      if (loading) load_keys(loads);
      ptx::mbarrier_wait(values_full, phase);
      if (begin > 0 || end < kHalfTokens) clear_rows<kHeadSize>(values, begin, end, lane);
      add_values<T, kHeadSize>(weights, values, lane, state);
      ptx::fence_proxy_async();  // the zeros of clear_rows before the next copy
      __syncwarp();
      if (loading) load_values(loads);
      phase ^= 1;
    }
    merge_warps<kHeadSize>(state, pieces, warp, lane, 1);
    if (warp == 0) finish_unit<kHeadSize>(p, unit, state, lane);
  }
}

}  // namespace dak::cuda
