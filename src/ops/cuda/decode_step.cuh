// A decode step's operations in one persistent kernel: a stream of stages through every SM's ring,
// whatever they hold. Weights and the KV pages of earlier tokens are no operation's result, so the
// ring runs ahead over the ends of operations as far as it is deep; only x tiles and arithmetic
// wait. An operation is over when all thread blocks that take part in it have arrived at its
// counter; the next one's x, scores or norms begin then.
//
// Warps as in sm90_split_matmul.cuh, but for their whole life: consumers go through the operations,
// and the threads that fill the ring through the same stages ahead of them. A stage of attention
// holds half a page of keys in part 0 and of values in part 1, and is one warp's; the four warps of
// a warpgroup take turns, two warpgroups take units in turn. The new token's key and value are put
// into the stage by the warp that has it.
#pragma once

#include "kernels/sm90_split_consume.cuh"
#include "kernels/sm90_split_stages.cuh"
#include "ops/cuda/attention_tiles.cuh"
#include "ops/cuda/attention_units.cuh"
#include "ops/cuda/decode_step.h"
#include "ops/cuda/heads.cuh"
#include "ops/cuda/norm.cuh"

namespace dak::cuda {

// What a warpgroup needs beside the ring, by turns.
template <int kHeadSize>
union StepScratch {
  float heads[kTileHeads + 2][kHeadSize];  // queries, the new token's key and value
  float pieces[kUnitWarps / 2][AttentionShape<kHeadSize>::kPieceFloats];
  RowNormShared norm;
};

template <typename Shape, int kHeadSize>
struct StepShared {
  SplitMatmulShared<Shape> split;
  StepScratch<kHeadSize> scratch[Shape::kRows];
};

template <int kBatch, int kHeadSize>
constexpr uint32_t step_control_bytes() {
  constexpr uint32_t kBytes = 1024 + 256 + group_blocks_of(kBatch) * sizeof(StepScratch<kHeadSize>);
  return (kBytes + 127) / 128 * 128;
}
template <int kBatch, int kHeadSize>
using StepShape = SplitMatmulShape<kBatch, step_control_bytes<kBatch, kHeadSize>()>;

// One thread. Traps rather than hang when an operation never ends: a poll takes 0.5 us or more.
__device__ inline void wait_done(const StepParams& p, int op) {
  if (op < 0) return;
  const auto wanted = static_cast<uint32_t>(p.ops[op].participants);
  uint32_t polls = 0;
  while (ptx::load_acquire(p.done + op) < wanted) {
    if (++polls == 1u << 27) __trap();
  }
}

// All consumers of a thread block that takes part. Whoever is last knows that nobody waits for the
// operation before any more, and clears its counter for the next launch.
template <typename Shape>
__device__ void arrive_done(const StepParams& p, int op, int thread) {
  constexpr uint32_t kConsumers = Shape::kConsumerWarps * 32;
  ptx::fence_proxy_async_all();  // the next operation reads results with the copy engine
  ptx::named_barrier(1 + Shape::kRows, kConsumers);
  if (thread != 0) return;
  __threadfence();
  const uint32_t arrived = atomicAdd(p.done + op, 1u) + 1;
  if (arrived != static_cast<uint32_t>(p.ops[op].participants)) return;
  if (op > 0) p.done[op - 1] = 0;
  if (op == p.op_count - 1) p.done[op] = 0;
}

// Half pages of a unit that have tokens in them, numbered from the run's first page on.
struct TileRange {
  int32_t begin;
  int32_t end;
};
__device__ inline TileRange tiles_of(const AttentionUnit& unit) {
  const int32_t base = unit.first_page * 64;
  const int32_t end = min(unit.end, unit.last_page * 64);
  return {.begin = max(unit.begin - base, 0) / kHalfTokens,
          .end = (end - base + kHalfTokens - 1) / kHalfTokens};
}

// This thread block's units of an attention operation; readers have none.
__device__ inline UnitCursor units_of(const StepParams& p, const StepOp& op) {
  const auto block = static_cast<int32_t>(blockIdx.x);
  return {op.attention.attention,
          local_share(op.attention.attention, block < p.readers ? INT32_MAX : block - p.readers,
                      static_cast<int32_t>(gridDim.x) - p.readers)};
}

// Calls on_weights(op, cursor) for each stage of weights and on_tiles(op, unit, tile) for each of
// attention, in the order of the ring; `tile` is numbered as in tiles_of.
template <typename Shape, int kHeadSize, typename OnWeights, typename OnTile>
__device__ void walk_stages(const StepParams& p, const StepShared<Shape, kHeadSize>& shared,
                            OnWeights on_weights, OnTile on_tile) {
  for (int index = 0; index < p.op_count; ++index) {
    const StepOp& op = p.ops[index];
    if (op.kind == StepKind::kMatmul) {
      if (static_cast<int32_t>(blockIdx.x) >= op.participants) continue;
      StageCursor<Shape> cursor{.items = op.matmul.items,
                                .slice_chunks = op.matmul.slice_chunks,
                                .chunks = op.matmul.chunks};
      cursor.load(static_cast<int32_t>(blockIdx.x));
      do {
        on_weights(index, cursor);
      } while (cursor.advance());
    } else if (op.kind == StepKind::kAttention) {
      UnitCursor units = units_of(p, op);
      AttentionUnit unit{};
      while (units.take(unit)) {
        const TileRange range = tiles_of(unit);
        for (int32_t tile = range.begin; tile < range.end; ++tile) on_tile(op, unit, tile);
      }
    }
  }
}

// The thread that issues copies of weights and pages.
template <typename Shape, int kHeadSize>
__device__ void fill_ring(const StepParams& p, StepShared<Shape, kHeadSize>& shared,
                          std::byte* stages) {
  constexpr uint32_t kTileBytes = AttentionShape<kHeadSize>::kTileBytes;
  constexpr int64_t kHeadBytes = int64_t{kKvPageTokens} * kHeadSize * 2;
  static_assert(kTileBytes <= Shape::kChunkBytes);
  SplitMatmulShared<Shape>& split = shared.split;
  const uint64_t policy = ptx::policy_evict_first();
  RingPosition<Shape::kStages> at;
  RemoteIssue count;
  const bool is_reader = static_cast<int32_t>(blockIdx.x) < p.readers;
  walk_stages<Shape, kHeadSize>(
      p, shared,
      [&](int, const StageCursor<Shape>& cursor) {
        if (cursor.tier == 0) {
          // As in issue_remote_stage: this stage may have held remote chunks before.
          while (is_reader && static_cast<int32_t>(count.stages - split.mailbox.arrived_stages) >=
                                  Shape::kStages) {
          }
          wait_empty<Shape>(split, at);
          issue_local_stage<Shape>(split, stages, at.stage, cursor, policy);
          ++count.stages;
        } else {
          issue_remote_stage<Shape>(split, stages, at, cursor, count, policy);
        }
        split.mailbox.issued_stages = count.stages;
        at.advance();
      },
      [&](const StepOp& op, const AttentionUnit& unit, int32_t tile) {
        const KvParams& kv = op.attention.attention.kv;
        const std::byte* page =
            kv.pages[kv.rows[unit.row].first_page + unit.first_page + tile / 2] +
            unit.kv_head * kHeadBytes + tile % 2 * kTileBytes;
        wait_empty<Shape>(split, at);
        issue_parts<Shape>(split, stages, at.stage, 0, page, kTileBytes, policy);
        issue_parts<Shape>(split, stages, at.stage, 1, page + kv.kv_heads * kHeadBytes, kTileBytes,
                           policy);
        ++count.stages;
        split.mailbox.issued_stages = count.stages;
        at.advance();
      });
}

// The thread that issues copies of x, each operation's when the one before is over.
template <typename Shape, int kHeadSize>
__device__ void fill_x(const StepParams& p, StepShared<Shape, kHeadSize>& shared,
                       std::byte* stages) {
  const uint64_t policy = ptx::policy_evict_last();
  RingPosition<Shape::kStages> at;
  int waited_for = -1;  // the operation before this one is over
  walk_stages<Shape, kHeadSize>(
      p, shared,
      [&](int index, const StageCursor<Shape>& cursor) {
        const StepOp& op = p.ops[index];
        if (waited_for != index) {
          ptx::prefetch_tensor_map(&op.x_map);
          wait_done(p, index - 1);
          ptx::fence_proxy_async_all();
          waited_for = index;
        }
        wait_empty<Shape>(shared.split, at);
        issue_x<Shape>(shared.split, stages, at.stage, cursor, &op.x_map, policy);
        at.advance();
      },
      [&](const StepOp&, const AttentionUnit&, int32_t) {  // no x, but the phase goes on
        wait_empty<Shape>(shared.split, at);
        ptx::mbarrier_arrive(&shared.split.ring.x_full[at.stage]);
        at.advance();
      });
}

// The thread that times a reader's copies.
template <typename Shape, int kHeadSize>
__device__ void time_remote(const StepParams& p, StepShared<Shape, kHeadSize>& shared) {
  ReaderMailbox& box = shared.split.mailbox;
  RingPosition<Shape::kStages> at;
  ArrivalTimes times;
  uint32_t stages = 0;
  walk_stages<Shape, kHeadSize>(
      p, shared,
      [&](int, const StageCursor<Shape>& cursor) {
        // Not before it is issued: its barrier may be a round behind.
        while (static_cast<int32_t>(box.issued_stages - stages) <= 0) {
        }
        if (cursor.tier != 0) time_stage<Shape>(shared.split, at, cursor, times);
        box.arrived_stages = ++stages;
        at.advance();
      },
      [](const StepOp&, const AttentionUnit&, int32_t) {});
  box.finished = 1;
}

// Puts the new token's key or value into its half page, as split_heads does in memory.
template <typename T, int kHeadSize>
__device__ void patch_row(std::byte* tile, int token, const float* values, int lane) {
  constexpr int kUnits = AttentionShape<kHeadSize>::kUnits;
  for (int dim = lane * 2; dim < kHeadSize; dim += 64) {
    const int unit = kv_unit(token, dim / 8, kUnits);
    *reinterpret_cast<uint32_t*>(tile + (token * kUnits + unit) * 16 + dim % 8 * 2) =
        pack<T>(values[dim], values[dim + 1]);
  }
  __syncwarp();
}

// Queries, and for the run that ends with the new token its key and value: those go to the page
// too. By the four warps of a warpgroup.
template <typename T, int kHeadSize>
__device__ void prepare_heads(const StepAttention& op, const AttentionUnit& unit, bool has_new,
                              StepScratch<kHeadSize>& scratch, int warp, int lane) {
  const SplitHeadsParams& heads = op.heads;
  const KvParams& kv = heads.kv;
  const int count = unit.heads + (has_new ? 2 : 0);
  for (int i = warp; i < count; i += kUnitWarps) {
    if (i < unit.heads) {
      transform_head(heads, unit.row, unit.first_head + i, scratch.heads[i], lane);
      continue;
    }
    const int which = i - unit.heads;  // 0: key, 1: value
    float* values = scratch.heads[kTileHeads + which];
    const int64_t stored = which * kv.kv_heads + unit.kv_head;
    transform_head(heads, unit.row, kv.heads + stored, values, lane);
    if (unit.tile != 0) continue;
    const int32_t token = unit.end - 1;
    auto* page = reinterpret_cast<T*>(kv.pages[kv.rows[unit.row].first_page + token / 64]);
    for (int dim = lane * 2; dim < kHeadSize; dim += 64) {
      *reinterpret_cast<uint32_t*>(page + place_in_page(kv, stored, token % 64, dim)) =
          pack<T>(values[dim], values[dim + 1]);
    }
  }
}

// A consumer warp is done with a stage, or never had to do with it. Every warp passes every stage
// in order, or phases could overtake it: a barrier tells even rounds from odd ones only.
template <typename Shape>
__device__ void pass_stage(SplitMatmulShared<Shape>& shared, RingPosition<Shape::kStages>& at,
                           int lane) {
  ptx::mbarrier_wait(&shared.ring.x_full[at.stage], at.phase);
  ptx::mbarrier_wait(&shared.ring.full[at.stage][0], at.phase);
  if (lane == 0) ptx::mbarrier_arrive(&shared.ring.empty[at.stage]);
  at.advance();
}

// One unit's stages, from `at` on, by warpgroup `group` of the thread block.
template <typename T, typename Shape, int kHeadSize>
__device__ void attend_unit(const StepAttention& op, const AttentionUnit& unit,
                            StepShared<Shape, kHeadSize>& shared, std::byte* stages,
                            RingPosition<Shape::kStages>& at, int group, int warp, int lane) {
  const auto barrier = static_cast<uint32_t>(1 + group);
  StepScratch<kHeadSize>& scratch = shared.scratch[group];
  auto& ring = shared.split.ring;
  const TileRange range = tiles_of(unit);
  const bool has_new = unit.split == unit.splits - 1;
  ptx::named_barrier(barrier, kUnitWarps * 32);  // the scratch is free again
  prepare_heads<T, kHeadSize>(op, unit, has_new, scratch, warp, lane);
  ptx::named_barrier(barrier, kUnitWarps * 32);
  uint32_t query[AttentionShape<kHeadSize>::kSteps][4];
  load_query<T, kHeadSize>(scratch.heads[0], unit.heads, op.attention.kv.scale, lane, query);
  RunningSoftmax<kHeadSize> state;
  for (int32_t tile = range.begin; tile < range.end; ++tile) {
    if (tile % kUnitWarps != warp) {
      pass_stage<Shape>(shared.split, at, lane);
      continue;
    }
    const int32_t first = unit.first_page * 64 + tile * kHalfTokens;
    const int begin = max(unit.begin - first, 0);
    const int end = min(unit.end - first, kHalfTokens);
    const bool is_last = has_new && tile == range.end - 1;
    std::byte* keys = part_in<Shape>(stages, at.stage, 0);
    std::byte* values = part_in<Shape>(stages, at.stage, 1);
    float weights[4][2];
    ptx::mbarrier_wait(&ring.full[at.stage][0], at.phase);
    if (is_last) patch_row<T, kHeadSize>(keys, end - 1, scratch.heads[kTileHeads], lane);
    add_keys<T, kHeadSize>(query, keys, begin, end, lane, state, weights);
    ptx::mbarrier_wait(&ring.full[at.stage][1], at.phase);
    if (is_last) patch_row<T, kHeadSize>(values, end - 1, scratch.heads[kTileHeads + 1], lane);
    if (begin > 0 || end < kHalfTokens) clear_rows<kHeadSize>(values, begin, end, lane);
    add_values<T, kHeadSize>(weights, values, lane, state);
    ptx::fence_proxy_async();  // what was patched, before the next copy
    __syncwarp();
    pass_stage<Shape>(shared.split, at, lane);
  }
  merge_warps<kHeadSize>(state, scratch.pieces[0], warp, lane, barrier);
  if (warp == 0) finish_unit<kHeadSize>(op.attention, unit, state, lane);
}

template <typename T, typename Shape, int kHeadSize>
__device__ void consume_attention(const StepParams& p, int index,
                                  StepShared<Shape, kHeadSize>& shared, std::byte* stages,
                                  RingPosition<Shape::kStages>& at, int group, int warp, int lane) {
  const StepOp& op = p.ops[index];
  UnitCursor units = units_of(p, op);
  AttentionUnit unit{};
  bool waited = false;
  for (int turn = 0; units.take(unit); turn = (turn + 1) % Shape::kRows) {
    if (turn != group) {
      const TileRange range = tiles_of(unit);
      for (int32_t tile = range.begin; tile < range.end; ++tile) {
        pass_stage<Shape>(shared.split, at, lane);
      }
      continue;
    }
    if (!waited) {
      if (lane == 0) wait_done(p, index - 1);
      __syncwarp();
      waited = true;
    }
    attend_unit<T, Shape, kHeadSize>(op.attention, unit, shared, stages, at, group, warp, lane);
  }
}

// Rows of a norm or a gather, from the last thread block down: the first ones have more to do.
template <typename Shape, int kHeadSize>
__device__ void consume_rows(const StepParams& p, int index, StepShared<Shape, kHeadSize>& shared,
                             int thread) {
  const StepOp& op = p.ops[index];
  const bool is_norm = op.kind == StepKind::kNorm;
  const int64_t rows = is_norm ? op.norm.rows : op.gather.m;
  const auto first = static_cast<int64_t>(gridDim.x - 1 - blockIdx.x);
  if (first >= rows) return;
  if (is_norm) prefetch_norm(op.norm, thread);
  if (thread == 0) wait_done(p, index - 1);
  for (int64_t row = first; row < rows; row += gridDim.x) {
    ptx::named_barrier(1, kRowNormThreads);
    if (is_norm) {
      norm_row(op.norm, row, shared.scratch[0].norm, 1, thread);
    } else {
      const float* x = op.gather.x + op.gather.rows[row] * op.gather.cols;
      for (int64_t col = thread; col < op.gather.cols; col += kRowNormThreads) {
        op.gather.out[row * op.gather.cols + col] = __ldcg(x + col);
      }
    }
  }
}

// Whether this thread block takes part in an operation.
__device__ inline bool takes_part(const StepParams& p, const StepOp& op) {
  const auto block = static_cast<int32_t>(blockIdx.x);
  switch (op.kind) {
    case StepKind::kMatmul:
      return block < op.participants;
    case StepKind::kAttention:
      return block >= p.readers;
    default:
      return static_cast<int32_t>(gridDim.x) - 1 - block < op.participants;
  }
}

template <typename T, typename Shape, int kHeadSize>
__device__ void consume_step(const StepParams& p, StepShared<Shape, kHeadSize>& shared,
                             std::byte* stages, int warp) {
  const int group = warp / 4;
  const int thread = static_cast<int>(threadIdx.x) % 128;
  RingPosition<Shape::kStages> at;
  for (int index = 0; index < p.op_count; ++index) {
    const StepOp& op = p.ops[index];
    if (!takes_part(p, op)) continue;
    if (op.kind == StepKind::kMatmul) {
      const SplitProduct product{.partials = op.matmul.partials,
                                 .arrivals = op.matmul.arrivals,
                                 .chunks = op.matmul.chunks,
                                 .slice_chunks = op.matmul.slice_chunks,
                                 .epilogue = op.matmul.epilogue};
      for (auto item = static_cast<int32_t>(blockIdx.x); item >= 0;
           item = op.matmul.items[item].next) {
        consume_item<T, Shape>(product, op.matmul.items[item], shared.split, stages, at, group,
                               thread);
      }
    } else if (op.kind == StepKind::kAttention) {
      consume_attention<T, Shape, kHeadSize>(p, index, shared, stages, at, group, warp % 4,
                                             thread % 32);
    } else if (group == 0) {
      consume_rows<Shape, kHeadSize>(p, index, shared, thread);
    }
    arrive_done<Shape>(p, index, static_cast<int>(threadIdx.x));
  }
}

template <typename T, int kBatch, int kHeadSize>
__global__ void __launch_bounds__(StepShape<kBatch, kHeadSize>::kThreads, 1)
    decode_step_kernel(const __grid_constant__ StepParams p) {
  using Shape = StepShape<kBatch, kHeadSize>;
  extern __shared__ std::byte raw[];
  std::byte* stages = raw + (1024 - ptx::shared_address(raw) % 1024) % 1024;
  auto& shared = *reinterpret_cast<StepShared<Shape, kHeadSize>*>(stages + Shape::kStages *
                                                                               Shape::kStageBytes);
  static_assert(sizeof(shared) <= Shape::kControlBytes);

  const int warp = __shfl_sync(0xffffffff, static_cast<int>(threadIdx.x) / 32, 0);
  if (threadIdx.x == 0) {
    shared.split.ring.init(Shape::kConsumerWarps);
    shared.split.mailbox.init();
    ptx::fence_barrier_init();
  }
  __syncthreads();

  if (warp < Shape::kConsumerWarps) {
    return consume_step<T, Shape, kHeadSize>(p, shared, stages, warp);
  }
  if (threadIdx.x % 32 != 0) return;
  if (warp == Shape::kConsumerWarps) {
    fill_ring<Shape, kHeadSize>(p, shared, stages);
  } else if (warp == Shape::kConsumerWarps + 1) {
    fill_x<Shape, kHeadSize>(p, shared, stages);
  } else {
    const auto block = static_cast<int32_t>(blockIdx.x);
    if (block >= p.readers) return;
    if (warp == Shape::kConsumerWarps + 2) {
      return time_remote<Shape, kHeadSize>(p, shared);
    }
    for (int tier = 1; tier < kMaxTiers; ++tier) {
      if (block < p.reader_begin[tier] || block >= p.reader_end[tier]) continue;
      run_window_control(p.links[tier], shared.split.mailbox,
                         static_cast<uint32_t>(block - p.reader_begin[tier]),
                         static_cast<uint32_t>(p.reader_end[tier] - p.reader_begin[tier]));
    }
  }
}

}  // namespace dak::cuda
