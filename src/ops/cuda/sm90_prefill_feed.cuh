// Prefill attention's producers: the warp that takes units and brings their keys and values, and
// the warps that bring their queries.
#pragma once

#include "kernels/ptx/bulk_copy.cuh"
#include "ops/cuda/attention_tiles.cuh"
#include "ops/cuda/sm90_prefill_shared.cuh"

namespace dak::cuda {

// Where a warp finds the pages of a unit: 32 entries of the page table at a time, one a lane.
class PrefillPages {
 public:
  // `page` of the sequence; all lanes ask together. A remote page lies in the ring.
  template <typename Shape>
  __device__ const std::byte* find(const PrefillParams& p, const PrefillUnit& unit, int32_t page,
                                   int lane) {
    if (page < first_ || page >= first_ + 32) fetch(p, unit, page, lane);
    const int source = page - first_;
    const int32_t rank = __shfl_sync(0xffffffffu, rank_, source);
    const auto address = reinterpret_cast<const std::byte*>(
        __shfl_sync(0xffffffffu, reinterpret_cast<unsigned long long>(page_), source));
    if (rank < 0) return address + unit.kv_head * Shape::kPageBytes;
    while ((came_ >> source & 1) == 0) look<Shape>(p, unit);
    const int32_t slot = (unit.remote_item + rank) % p.slots;
    return p.ring + static_cast<int64_t>(slot) * 2 * Shape::kPageBytes;
  }
  // From keys to values of what find() found last.
  template <typename Shape>
  __device__ int64_t value_offset(const PrefillParams& p, int32_t page) const {
    const int32_t rank = __shfl_sync(0xffffffffu, rank_, page - first_);
    return (rank < 0 ? p.kv.kv_heads : 1) * Shape::kPageBytes;
  }

 private:
  __device__ void fetch(const PrefillParams& p, const PrefillUnit& unit, int32_t page, int lane) {
    first_ = page / 32 * 32;
    came_ = 0;
    rank_ = -1;
    page_ = nullptr;
    if ((first_ + lane) * static_cast<int32_t>(kKvPageTokens) < unit.seen) {
      rank_ = p.plan.page_ranks[unit.first_page + first_ + lane];
      page_ = p.kv.pages[unit.first_page + first_ + lane];
    }
  }

  // Which remote ones of the 32 have come to the ring: all at once, for the fence takes as long as
  // a step.
  template <typename Shape>
  __device__ void look(const PrefillParams& p, const PrefillUnit& unit) {
    bool came = false;
    if (rank_ >= 0) {
      const int32_t item = unit.remote_item + rank_;
      const uint32_t copies = static_cast<uint32_t>(item / p.slots + 1) * Shape::kItemCopies;
      came = ptx::load_acquire(prefill_ready(p) + item % p.slots) >= copies;
    }
    const uint32_t all = __ballot_sync(0xffffffffu, came);
    if (all == came_) {
      ptx::sleep_ns(100);
      return;
    }
    came_ = all;
    ptx::fence_proxy_async_all();
    __syncwarp();
  }

  int32_t first_ = -64;
  uint32_t came_ = 0;
  int32_t rank_ = -1;
  const std::byte* page_ = nullptr;
};

// One warp. The next unit is taken when the last keys of this one are asked for, so that its
// queries come meanwhile.
template <typename Shape>
__device__ void feed_keys_and_values(const PrefillParams& p, const PrefillShared<Shape>& shared,
                                     int lane) {
  PrefillControl<Shape>& control = *shared.control;
  const uint64_t policy = ptx::policy_evict_normal();
  RingPosition<Shape::kStages> at;
  RingPosition<2> next;
  const auto take = [&] {
    ptx::mbarrier_wait(&control.unit_empty[next.stage], next.phase ^ 1);
    if (lane == 0) {
      control.units[next.stage] =
          find_unit(p.plan, static_cast<int32_t>(atomicAdd(&p.counters->next_unit, 1u)));
      ptx::mbarrier_arrive(&control.unit_full[next.stage]);
    }
    __syncwarp();
    const PrefillUnit unit = control.units[next.stage];
    next.advance();
    return unit;
  };
  PrefillUnit unit = take();
  while (unit.valid != 0) {
    PrefillPages pages;
    PrefillUnit following{};
    for (int32_t tile = unit.begin; tile < unit.end; ++tile) {
      if (tile == max(unit.begin, unit.end - 2)) following = take();
      const std::byte* source[Shape::kPages];
      int64_t to_values[Shape::kPages];
      uint32_t bytes = 0;
#pragma unroll
      for (int i = 0; i < Shape::kPages; ++i) {
        source[i] = nullptr;
        const int32_t page = tile * Shape::kPages + i;
        if (page * static_cast<int32_t>(kKvPageTokens) >= unit.seen) continue;
        source[i] = pages.find<Shape>(p, unit, page, lane);
        to_values[i] = pages.value_offset<Shape>(p, page);
        bytes += Shape::kPageBytes;
      }
      const auto copy = [&](ptx::Barrier* full, ptx::Barrier* empty, std::byte* target,
                            bool values) {
        ptx::mbarrier_wait(empty, at.phase ^ 1);
        if (lane == 0) {
          ptx::mbarrier_arrive_expect_tx(full, bytes);
#pragma unroll
          for (int i = 0; i < Shape::kPages; ++i) {
            if (source[i] == nullptr) continue;
            ptx::bulk_copy(target + static_cast<uint32_t>(i) * Shape::kPageBytes,
                           source[i] + (values ? to_values[i] : 0), Shape::kPageBytes, full,
                           policy);
          }
        }
        __syncwarp();
      };
      copy(&control.keys_full[at.stage], &control.keys_empty[at.stage], shared.keys(at.stage),
           false);
      copy(&control.values_full[at.stage], &control.values_empty[at.stage], shared.values(at.stage),
           true);
      at.advance();
    }
    unit = following;
  }
}

// Queries times the scale of scores, for exp2, rounded to T; they lie as keys do in a page.
inline constexpr int kQueryWarps = 2;

template <typename T, int kHeadSize, typename Shape>
__device__ void feed_queries(const PrefillParams& p, const PrefillShared<Shape>& shared,
                             int thread) {
  PrefillControl<Shape>& control = *shared.control;
  const int32_t group = p.plan.group;
  const float scale = p.kv.scale * 1.44269504f;
  constexpr int kAtOnce = 4;
  constexpr int kStep = kQueryWarps * 32;
  constexpr int kRounds = kPrefillTileRows * Shape::kUnits / (kStep * kAtOnce);
  static_assert(kRounds * kStep * kAtOnce == kPrefillTileRows * Shape::kUnits);
  for (RingPosition<2> at;; at.advance()) {
    ptx::mbarrier_wait(&control.unit_full[at.stage], at.phase);
    const PrefillUnit& unit = control.units[at.stage];
    const bool valid = unit.valid != 0;
    if (valid) {
      const int32_t indices = unit.rows * group;
      std::byte* target = shared.query(at.stage);
#pragma unroll 1
      for (int round = 0; round < kRounds; ++round) {
        float4 values[kAtOnce][2];
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
          const int place = (round * kAtOnce + i) * kStep + thread;
          const int32_t index = unit.first_index + place / Shape::kUnits;
          values[i][0] = values[i][1] = float4{};
          if (index >= indices) continue;
          const int64_t row = unit.first_row + index / group;
          const auto* from = reinterpret_cast<const float4*>(
              p.q + (row * p.kv.heads + unit.kv_head * group + index % group) * kHeadSize +
              place % Shape::kUnits * 8);
          values[i][0] = __ldcs(from);
          values[i][1] = __ldcs(from + 1);
        }
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
          const int place = (round * kAtOnce + i) * kStep + thread;
          const float4(&v)[2] = values[i];
          const uint4 packed{
              pack<T>(v[0].x * scale, v[0].y * scale), pack<T>(v[0].z * scale, v[0].w * scale),
              pack<T>(v[1].x * scale, v[1].y * scale), pack<T>(v[1].z * scale, v[1].w * scale)};
          *reinterpret_cast<uint4*>(
              target + kv_place(place / Shape::kUnits, place % Shape::kUnits, Shape::kUnits) * 16) =
              packed;
        }
      }
      ptx::fence_proxy_async();
    }
    ptx::mbarrier_arrive(&control.query_full[at.stage]);
    if (!valid) return;
  }
}

}  // namespace dak::cuda
