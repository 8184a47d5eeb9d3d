// Sums of what a row's runs left: by the thread block that brings the last run of a group, then by
// the one that brings the last group. Each tells of its runs after its last unit, so that none waits
// for memory: fences and counters at every unit cost 8 us each (32 rows of 8192 tokens, 0.308 ms for
// 0.262 without; H200).
#pragma once

#include "ops/cuda/attention_tiles.cuh"

namespace dak::cuda {

inline constexpr int kSumThreads = kUnitWarps * 32;

// One thread; true for the last of `count`, who may then read what the others stored before.
__device__ inline bool arrive_last_piece(uint32_t* counter, int32_t count) {
  if (atomicAdd(counter, 1u) + 1 != static_cast<uint32_t>(count)) return false;
  *counter = 0;
  return true;
}

// A thread's part of a sum: some values of one head.
template <int kHeadSize>
struct HeadSum {
  static constexpr int kValues = (kHeadSize + 31) / 32;  // pairs
  int head;
  int slot;
  int slots;
  float most;
  float sum;
  float2 values[kValues];

  __device__ HeadSum(int thread, int heads)
      : head(thread % heads), slot(thread / heads), slots(kSumThreads / heads) {}

  // Pair `at` of the head, where a piece has it.
  __device__ bool has(int i) const { return slot < slots && slot + i * slots < kHeadSize / 2; }
  __device__ int dim(int i) const {
    const int at = slot + i * slots;
    return at / 4 * 8 + at % 4 * 2;
  }
  __device__ int place(int i, int heads) const {
    const int at = slot + i * slots;
    return at / 4 * heads * 4 + head * 4 + at % 4;
  }

  // `count` pieces, each `stride` floats after the one before, in order. The largest score comes
  // first, so that every load is on its own.
  __device__ void add(const float* pieces, int32_t count, int64_t stride, int heads) {
    const float* mosts = pieces + heads * kHeadSize + head;
    most = -INFINITY;
#pragma unroll 16
    for (int32_t i = 0; i < count; ++i) most = fmaxf(most, __ldcg(mosts + i * stride));
    sum = 0;
#pragma unroll
    for (float2& value : values) value = {};
#pragma unroll 8
    for (int32_t i = 0; i < count; ++i) {
      const float* piece = pieces + i * stride;
      const float share = exp2f(__ldcg(mosts + i * stride) - most);
      sum += share * __ldcg(mosts + i * stride + heads);
#pragma unroll
      for (int v = 0; v < kValues; ++v) {
        if (!has(v)) continue;
        const float2 value = __ldcg(reinterpret_cast<const float2*>(piece) + place(v, heads));
        values[v].x += share * value.x;
        values[v].y += share * value.y;
      }
    }
  }

  __device__ void store_piece(float* piece, int heads) const {
#pragma unroll
    for (int v = 0; v < kValues; ++v) {
      if (has(v)) reinterpret_cast<float2*>(piece)[place(v, heads)] = values[v];
    }
    if (slot != 0) return;
    piece[heads * kHeadSize + head] = most;
    piece[heads * (kHeadSize + 1) + head] = sum;
  }

  __device__ void store_output(const AttentionParams& p, const AttentionUnit& unit) const {
    const int64_t at = (unit.row * p.kv.heads + unit.first_head + head) * kHeadSize;
#pragma unroll
    for (int v = 0; v < kValues; ++v) {
      if (!has(v)) continue;
      store_element(p.out, at + dim(v), p.out_dtype, values[v].x / sum);
      store_element(p.out, at + dim(v) + 1, p.out_dtype, values[v].y / sum);
    }
  }
};

// In shared memory.
struct SumShared {
  uint32_t last_units;  // bit i: of 32 units, the ones whose group is whole
  uint32_t last_group;
};

// A unit's group, now that all its runs are there; all threads of the block.
template <int kHeadSize>
__device__ void sum_group(const AttentionParams& p, const AttentionUnit& unit, SumShared& shared) {
  const auto thread = static_cast<int>(threadIdx.x);
  const RowPieces row(p, unit, kHeadSize);
  const int32_t groups = (unit.splits + kGroupRuns - 1) / kGroupRuns;
  const int32_t first = unit.split / kGroupRuns * kGroupRuns;
  HeadSum<kHeadSize> sum(thread, unit.heads);
  sum.add(row.piece(first), min(unit.splits - first, kGroupRuns), row.floats, unit.heads);
  if (groups == 1) return sum.store_output(p, unit);
  __syncthreads();  // before the first run's piece becomes the group's
  sum.store_piece(row.piece(first), unit.heads);
  __threadfence();
  __syncthreads();
  if (thread == 0) {
    shared.last_group = arrive_last_piece(row.arrivals, groups) ? 1 : 0;
    __threadfence();
  }
  __syncthreads();
  if (shared.last_group == 0) return;
  sum.add(row.pieces, groups, kGroupRuns * row.floats, unit.heads);
  sum.store_output(p, unit);
}

// After a thread block's last unit; all its threads.
template <int kHeadSize>
__device__ void sum_runs(const AttentionParams& p, const UnitCursor& units, SumShared& shared) {
  const auto thread = static_cast<int>(threadIdx.x);
  AttentionUnit unit{};
  for (int32_t base = 0; base < units.count(); base += 32) {
    __syncthreads();  // pieces are stored, and shared memory is free again
    if (thread < 32) {
      bool last = false;
      __threadfence();
      if (base + thread < units.count() && units.enter(base + thread, unit) && unit.splits > 1) {
        const int32_t group = unit.split / kGroupRuns;
        last = arrive_last_piece(RowPieces(p, unit, kHeadSize).arrivals + 1 + group,
                                 min(unit.splits - group * kGroupRuns, kGroupRuns));
      }
      __threadfence();
      const uint32_t all = __ballot_sync(0xffffffffu, last);
      if (thread == 0) shared.last_units = all;
    }
    __syncthreads();
    for (uint32_t left = shared.last_units; left != 0; left &= left - 1) {
      units.enter(base + __ffs(static_cast<int>(left)) - 1, unit);
      sum_group<kHeadSize>(p, unit, shared);
    }
  }
}

}  // namespace dak::cuda
