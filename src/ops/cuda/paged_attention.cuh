// Attention over 16-bit KV pages with tensor cores, for every row of a batch.
//
// A unit of work is one row's query heads that share a KV head (8 at a time) over a run of pages. A
// row's pages are cut into at most max_splits runs, by their number alone. Of every four pages of a
// run each of a thread block's eight warps takes one half, with a running softmax of its own. Warps
// are merged pair by pair, then runs in order by whichever thread block of them comes last. So the
// order of every sum follows from the row's token index, whatever the batch and the placement.
// (Runs of two pages: the last one ended 6 us after the others, which took 5; H200, 512 tokens.)
//
// The query's 8 heads are rows 0-7 of a 16-row fragment, rounded to 16 bits; rows 8-15 hold what
// rounding took away, so that products are as good as with f32 queries. The same with the weights
// of the values. Half a fragment would be idle otherwise.
//
// Pages are stored swizzled (kv_unit), so that one bulk copy of a head's keys or values lands in
// shared memory free of bank conflicts. A warp loads its next keys while it multiplies values.
#pragma once

#include "kernels/element.cuh"
#include "kernels/ptx/bulk_copy.cuh"
#include "kernels/ptx/mma.cuh"
#include "kernels/ptx/sync.cuh"
#include "ops/cuda/kernels.h"

namespace dak::cuda {

inline constexpr int kHalfTokens = 32;  // of a page

template <int kHeadSize>
struct AttentionShape {
  // As many warps as tiles fit shared memory.
  static constexpr int kWarps = kHeadSize <= 128 ? 8 : 4;
  static constexpr int kPagesAtOnce = kWarps / 2;
  static constexpr int kSteps = kHeadSize / 16;  // of the dot products
  static constexpr int kUnits = kHeadSize / 8;   // of 16 bytes in a row
  static constexpr uint32_t kTileBytes = kHalfTokens * kHeadSize * 2;
  static constexpr int kPieceFloats = kTileHeads * (kHeadSize + 2);  // values, most, sum
  // Shared memory and registers for so many thread blocks a multiprocessor.
  static constexpr int kBlocks = kHeadSize <= 64 ? 2 : 1;
  static size_t shared_bytes(int64_t m) {
    return kWarps * 2 * kTileBytes + kWarps / 2 * kPieceFloats * 4 +
           kWarps * 2 * sizeof(ptx::Barrier) + static_cast<size_t>(m + 1) * 4;
  }
};

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
template <int kPagesAtOnce>
__device__ int32_t pages_per_split(int32_t pages, int32_t max_splits) {
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

template <int kPagesAtOnce>
__device__ RowRuns runs_of(const AttentionParams& p, int32_t row) {
  const KvParams& kv = p.kv;
  const int32_t token = kv.rows[row].token;
  if (token < 0) return {};
  RowRuns runs{.begin = 0, .end = token + 1, .per = 0, .splits = 0};
  if (kv.window > 0 && runs.end > kv.window)
    runs.begin = runs.end - static_cast<int32_t>(kv.window);
  const int32_t pages = (runs.end + 63) / 64 - runs.begin / 64;
  runs.per = pages_per_split<kPagesAtOnce>(pages, p.max_splits);
  runs.splits = (pages + runs.per - 1) / runs.per;
  return runs;
}

// Walks the units of one thread block. `before` [m + 1]: runs of all rows before each.
template <int kPagesAtOnce>
class UnitCursor {
 public:
  __device__ UnitCursor(const AttentionParams& params, const int32_t* before, int32_t first)
      : p_(params),
        before_(before),
        next_(first),
        group_(static_cast<int32_t>(params.kv.heads / params.kv.kv_heads)),
        per_run_(static_cast<int32_t>(params.kv.kv_heads) * params.tiles),
        total_(before[params.kv.m] * per_run_) {}
  // False after the last.
  __device__ bool take(AttentionUnit& unit) {
    if (next_ >= total_) return false;
    const int32_t run = next_ / per_run_;
    const int32_t place = next_ % per_run_;
    next_ += static_cast<int32_t>(gridDim.x);
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
    const RowRuns runs = runs_of<kPagesAtOnce>(p_, low);
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
  int32_t group_;    // query heads that share a KV head
  int32_t per_run_;  // units
  int32_t total_;
};

// The pages of one warp, over all its units.
template <int kPagesAtOnce>
class PageCursor {
 public:
  __device__ PageCursor(const UnitCursor<kPagesAtOnce>& units, int warp)
      : units_(units), first_(warp / 2) {}
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
  UnitCursor<kPagesAtOnce> units_;
  int first_;
  AttentionUnit unit_{};
  int32_t page_ = 0;
};

// What a warp knows of its pages so far, for head lane / 4. Values of dimension
// 8 n + lane % 4 * 2 + {0, 1}: [n][0..1] from the rounded weights, [n][2..3] from the rests.
template <int kHeadSize>
struct RunningSoftmax {
  float most = -INFINITY;
  float sum = 0;  // of this lane's tokens only
  float values[kHeadSize / 8][4] = {};
};

template <typename T>
__device__ uint32_t pack(float first, float second);
template <>
__device__ inline uint32_t pack<__nv_bfloat16>(float first, float second) {
  const __nv_bfloat162 both = __floats2bfloat162_rn(first, second);
  return *reinterpret_cast<const uint32_t*>(&both);
}
template <>
__device__ inline uint32_t pack<__half>(float first, float second) {
  const __half2 both = __floats2half2_rn(first, second);
  return *reinterpret_cast<const uint32_t*>(&both);
}

template <typename T>
__device__ float rounded(float x) {
  return static_cast<float>(static_cast<T>(x));
}

// A fragment's registers for two neighbours: rounded, and what rounding took.
template <typename T>
__device__ void pack_both(float first, float second, uint32_t& high, uint32_t& low) {
  high = pack<T>(first, second);
  low = pack<T>(first - rounded<T>(first), second - rounded<T>(second));
}

template <typename T, int kHeadSize>
__device__ void load_query(const AttentionParams& p, const AttentionUnit& unit, int lane,
                           uint32_t (&query)[AttentionShape<kHeadSize>::kSteps][4]) {
  const int head = lane / 4;
  const float* q = p.q + (unit.row * p.kv.heads + unit.first_head + head) * kHeadSize;
  const float scale = p.kv.scale * 1.44269504f;  // exp2 is cheaper than exp
#pragma unroll
  for (int step = 0; step < AttentionShape<kHeadSize>::kSteps; ++step) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float2 pair{};
      const int dim = step * 16 + half * 8 + lane % 4 * 2;
      if (head < unit.heads) pair = *reinterpret_cast<const float2*>(q + dim);
      pack_both<T>(pair.x * scale, pair.y * scale, query[step][half * 2],
                   query[step][half * 2 + 1]);
    }
  }
}

template <typename T, int kHeadSize>
__device__ void add_keys(const uint32_t (&query)[AttentionShape<kHeadSize>::kSteps][4],
                         const std::byte* keys, int begin, int end, int lane,
                         RunningSoftmax<kHeadSize>& state, float (&weights)[4][2]) {
  using Shape = AttentionShape<kHeadSize>;
  float most = state.most;
#pragma unroll
  for (int tile = 0; tile < 4; ++tile) {
    float score[4] = {};
    float odd[4] = {};  // two chains are twice as fast as one
    const int token = tile * 8 + lane % 8;
#pragma unroll
    for (int step = 0; step < Shape::kSteps; step += 2) {
      uint32_t b[4];
      const int unit = min(step * 2 + lane / 8, Shape::kUnits - 1);
      ptx::load_matrices(b,
                         keys + (token * Shape::kUnits + kv_unit(token, unit, Shape::kUnits)) * 16);
      ptx::Mma<T>::multiply(score, query[step], b[0], b[1]);
      if (step + 1 < Shape::kSteps) ptx::Mma<T>::multiply(odd, query[step + 1], b[2], b[3]);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) score[i] += odd[i];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int at = tile * 8 + lane % 4 * 2 + i;
      weights[tile][i] = at >= begin && at < end ? score[i] + score[i + 2] : -INFINITY;
      most = fmaxf(most, weights[tile][i]);
    }
  }
  most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
  most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2));
  if (most == -INFINITY) {  // no token of this half is seen
#pragma unroll
    for (auto& pair : weights) pair[0] = pair[1] = 0;
    return;
  }
  const float shrink = exp2f(state.most - most);
  state.most = most;
  state.sum *= shrink;
#pragma unroll
  for (int tile = 0; tile < 4; ++tile) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      weights[tile][i] = exp2f(weights[tile][i] - most);
      state.sum += weights[tile][i];
    }
  }
#pragma unroll
  for (auto& value : state.values) {
#pragma unroll
    for (float& part : value) part *= shrink;
  }
}

template <typename T, int kHeadSize>
__device__ void add_values(const float (&weights)[4][2], const std::byte* values, int lane,
                           RunningSoftmax<kHeadSize>& state) {
  using Shape = AttentionShape<kHeadSize>;
#pragma unroll
  for (int step = 0; step < 2; ++step) {  // of 16 tokens
    uint32_t a[4];
    pack_both<T>(weights[step * 2][0], weights[step * 2][1], a[0], a[1]);
    pack_both<T>(weights[step * 2 + 1][0], weights[step * 2 + 1][1], a[2], a[3]);
    const int token = step * 16 + lane / 8 % 2 * 8 + lane % 8;
#pragma unroll
    for (int pair = 0; pair < Shape::kUnits / 2; ++pair) {
      uint32_t b[4];
      const int unit = pair * 2 + lane / 16;
      ptx::load_matrices_transposed(
          b, values + (token * Shape::kUnits + kv_unit(token, unit, Shape::kUnits)) * 16);
      ptx::Mma<T>::multiply(state.values[pair * 2], a, b[0], b[1]);
      ptx::Mma<T>::multiply(state.values[pair * 2 + 1], a, b[2], b[3]);
    }
  }
}

// Rows outside [begin, end) may never have been written: zero times NaN is NaN.
template <int kHeadSize>
__device__ void clear_rows(std::byte* values, int begin, int end, int lane) {
  constexpr int kUnits = AttentionShape<kHeadSize>::kUnits;
  for (int i = lane; i < kHalfTokens * kUnits; i += 32) {
    const int token = i / kUnits;
    if (token < begin || token >= end) reinterpret_cast<uint4*>(values)[i] = uint4{};
  }
  __syncwarp();
}

// Pieces in memory: values [kHeadSize / 8][32 lanes] float2, then most and sum [8 heads].
template <int kHeadSize>
__device__ void store_piece(float* piece, const RunningSoftmax<kHeadSize>& state, int lane) {
#pragma unroll
  for (int n = 0; n < kHeadSize / 8; ++n) {
    reinterpret_cast<float2*>(piece)[n * 32 + lane] = {state.values[n][0], state.values[n][1]};
  }
  if (lane % 4 != 0) return;
  piece[kTileHeads * kHeadSize + lane / 4] = state.most;
  piece[kTileHeads * (kHeadSize + 1) + lane / 4] = state.sum;
}

// state += a piece in shared memory; `state` has its rests and lanes already added up.
template <int kHeadSize>
__device__ void merge_piece(RunningSoftmax<kHeadSize>& state, const float* piece, int lane) {
  const float other_most = piece[kTileHeads * kHeadSize + lane / 4];
  const float other_sum = piece[kTileHeads * (kHeadSize + 1) + lane / 4];
  if (other_sum == 0) return;  // a warp without pages
  const float most = fmaxf(state.most, other_most);
  const float keep = exp2f(state.most - most);
  const float add = exp2f(other_most - most);
  state.most = most;
  state.sum = state.sum * keep + other_sum * add;
#pragma unroll
  for (int n = 0; n < kHeadSize / 8; ++n) {
    const float2 other = reinterpret_cast<const float2*>(piece)[n * 32 + lane];
    state.values[n][0] = state.values[n][0] * keep + other.x * add;
    state.values[n][1] = state.values[n][1] * keep + other.y * add;
  }
}

// state = the pieces of all runs, in order. The largest score comes first, so that every load is on
// its own.
template <int kHeadSize>
__device__ void sum_pieces(RunningSoftmax<kHeadSize>& state, const float* pieces, int32_t splits,
                           int lane) {
  constexpr int kFloats = AttentionShape<kHeadSize>::kPieceFloats;
  const float* mosts = pieces + kTileHeads * kHeadSize + lane / 4;
  state = RunningSoftmax<kHeadSize>{};
#pragma unroll 4
  for (int32_t split = 0; split < splits; ++split) {
    state.most = fmaxf(state.most, __ldcg(mosts + split * kFloats));
  }
#pragma unroll 2
  for (int32_t split = 0; split < splits; ++split) {
    const float* piece = pieces + split * kFloats;
    const float share = exp2f(__ldcg(mosts + split * kFloats) - state.most);
    state.sum += share * __ldcg(mosts + split * kFloats + kTileHeads);
#pragma unroll
    for (int n = 0; n < kHeadSize / 8; ++n) {
      const float2 values = __ldcg(reinterpret_cast<const float2*>(piece) + n * 32 + lane);
      state.values[n][0] += share * values.x;
      state.values[n][1] += share * values.y;
    }
  }
}

template <int kHeadSize>
__device__ void store_output(const AttentionParams& p, const AttentionUnit& unit,
                             const RunningSoftmax<kHeadSize>& state, int lane) {
  const int head = lane / 4;
  if (head >= unit.heads) return;
  const int64_t at = (unit.row * p.kv.heads + unit.first_head + head) * kHeadSize + lane % 4 * 2;
#pragma unroll
  for (int n = 0; n < kHeadSize / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      store_element(p.out, at + n * 8 + i, p.out_dtype, state.values[n][i] / state.sum);
    }
  }
}

template <typename T, int kHeadSize>
__global__ void __launch_bounds__(AttentionShape<kHeadSize>::kWarps * 32,
                                  AttentionShape<kHeadSize>::kBlocks)
    paged_attention_kernel(const __grid_constant__ AttentionParams p) {
  using Shape = AttentionShape<kHeadSize>;
  constexpr int kPagesAtOnce = Shape::kPagesAtOnce;
  using Pages = PageCursor<kPagesAtOnce>;
  extern __shared__ __align__(128) std::byte shared[];
  float* piece = reinterpret_cast<float*>(shared + Shape::kWarps * 2 * Shape::kTileBytes);
  auto* barriers = reinterpret_cast<ptx::Barrier*>(piece + Shape::kWarps / 2 * Shape::kPieceFloats);
  auto* before = reinterpret_cast<int32_t*>(barriers + 2 * Shape::kWarps);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 32, 0);
  std::byte* keys = shared + warp * 2 * Shape::kTileBytes;
  std::byte* values = keys + Shape::kTileBytes;
  ptx::Barrier* keys_full = barriers + 2 * warp;
  ptx::Barrier* values_full = keys_full + 1;

  ptx::launch_dependents();
  if (warp == 0) {
    int32_t total = 0;  // runs of the rows before this batch of 32
    for (int32_t base = 0; base < p.kv.m; base += 32) {
      const int32_t row = base + lane;
      const int32_t own = row < p.kv.m ? runs_of<kPagesAtOnce>(p, row).splits : 0;
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
  if (lane == 0) {
    ptx::mbarrier_init(keys_full, 1);
    ptx::mbarrier_init(values_full, 1);
    ptx::fence_barrier_init();
  }
  __syncthreads();

  const uint64_t policy = ptx::policy_evict_first();
  const int64_t head_bytes = kKvPageTokens * kHeadSize * 2;
  const auto page_of = [&](const Pages& at) {
    return p.kv.pages[p.kv.rows[at.unit().row].first_page + at.page()] +
           at.unit().kv_head * head_bytes + warp % 2 * Shape::kTileBytes;
  };
  const auto load_keys = [&](const Pages& at) {
    if (lane != 0) return;
    ptx::mbarrier_arrive_expect_tx(keys_full, Shape::kTileBytes);
    ptx::bulk_copy(keys, page_of(at), Shape::kTileBytes, keys_full, policy);
  };
  const auto load_values = [&](const Pages& at) {
    if (lane != 0) return;
    ptx::mbarrier_arrive_expect_tx(values_full, Shape::kTileBytes);
    ptx::bulk_copy(values, page_of(at) + p.kv.kv_heads * head_bytes, Shape::kTileBytes, values_full,
                   policy);
  };

  const UnitCursor<kPagesAtOnce> units(p, before, static_cast<int32_t>(blockIdx.x));
  Pages loads(units, warp);
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
  UnitCursor<kPagesAtOnce> work = units;
  AttentionUnit unit{};
  while (work.take(unit)) {
    uint32_t query[Shape::kSteps][4];
    load_query<T, kHeadSize>(p, unit, lane, query);
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
#pragma unroll
    for (auto& value : state.values) {
      value[0] += value[2];
      value[1] += value[3];
    }
    state.sum += __shfl_xor_sync(0xffffffffu, state.sum, 1);
    state.sum += __shfl_xor_sync(0xffffffffu, state.sum, 2);
    for (int stride = 1; stride < Shape::kWarps; stride *= 2) {
      float* pair_piece = piece + warp / (2 * stride) * Shape::kPieceFloats;
      __syncthreads();  // the piece is free again
      if (warp % (2 * stride) == stride) store_piece<kHeadSize>(pair_piece, state, lane);
      __syncthreads();
      if (warp % (2 * stride) == 0) merge_piece<kHeadSize>(state, pair_piece, lane);
    }
    if (warp == 0) {
      if (unit.splits == 1) {
        store_output<kHeadSize>(p, unit, state, lane);
      } else {
        const int64_t place = (unit.row * p.kv.kv_heads + unit.kv_head) * p.tiles + unit.tile;
        float* pieces = p.pieces + place * p.piece_room * Shape::kPieceFloats;
        store_piece<kHeadSize>(pieces + unit.split * Shape::kPieceFloats, state, lane);
        __threadfence();
        __syncwarp();
        int last = 0;
        if (lane == 0) {
          last = atomicAdd(p.arrivals + place, 1u) + 1 == static_cast<uint32_t>(unit.splits);
          if (last != 0) p.arrivals[place] = 0;
          __threadfence();
        }
        if (__shfl_sync(0xffffffffu, last, 0) != 0) {
          sum_pieces<kHeadSize>(state, pieces, unit.splits, lane);
          store_output<kHeadSize>(p, unit, state, lane);
        }
      }
    }
  }
}

}  // namespace dak::cuda
