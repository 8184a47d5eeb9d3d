// Split matmul for decode without TMA (compute capability 8.0 and above): out[m, n] =
// epilogue(x[m, k] w[n, k]^T), m <= 64, where each row block of w is read once, from wherever it
// lies, by 16-byte cp.async into shared memory. The same items and slices as sm90_split_matmul.cuh,
// so the order of every sum follows from the shape here too; its bits are its own.
//
// A stage of the ring holds 16 KiB of weights, of kRows row blocks times kStageCols columns, and
// the part of x that they share. 128 threads bring and multiply each row block: warp w of them
// takes its rows 16w to 16w + 15, with m16n8k16. All threads walk the stages together: wait,
// barrier, issue the copies of the stage that is kStages - 1 ahead, multiply.
//
// There is no window: a reader has 48 KiB in flight, whatever the link makes of it; the 4 to 16
// readers of readers_for() 192 to 768 KiB. (With PCIe 5 the TMA kernel was best from 192 to 512.)
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/plain_split_matmul.h"
#include "kernels/ptx/async_copy.cuh"
#include "kernels/ptx/mma.cuh"
#include "kernels/ptx/sync.cuh"
#include "kernels/sm90_split_epilogue.cuh"
#include "memory/weight_layout.h"

namespace dak {

// Shape of one instantiation. Within a stage a row block's part is as it lies in memory, cut to
// kPartCols columns a chunk: row groups of kGroupBytes, each core matrices of 128 bytes.
template <int kBatchTile>
struct PlainSplitShape {
  static constexpr int kBatch = kBatchTile;
  static constexpr int kRows = group_blocks_of(kBatch);
  static constexpr int kThreads = kRows * 128;
  static constexpr int kValues = kBatch / 2;  // of a [64, kBatch] tile in each of 128 threads
  static constexpr int kTileValues = 64 * kBatch;
  static constexpr int kStageCols = 128 / kRows;
  static constexpr int kPartCols = kStageCols < 64 ? kStageCols : 64;
  static constexpr int kGroupBytes = kPartCols * 16;
  static constexpr int kChunkBytes = dak::kChunkBytes;
  static constexpr int kPartBytes = kGroupBytes * 8;          // of one chunk
  static constexpr int kRowBlockBytes = kStageCols * 64 * 2;  // in a stage
  static constexpr int kXUnits = kStageCols / 8;              // 16 bytes of a row of x
  static constexpr int kStageBytes = kRows * kRowBlockBytes + kBatch * kStageCols * 2;
  static constexpr int kStages = 4;  // 80 KiB at most: GPUs of 8.6, 8.9 and 12.0 have 99
  static constexpr size_t kSharedBytes = size_t{kStages} * kStageBytes;
};

// The row block of the group that this thread works on, 0 to kRows - 1.
template <typename Shape>
__device__ int own_row() {
  return Shape::kRows == 1 ? 0 : static_cast<int>(threadIdx.x) / 128;
}

// A stage's place in the weight, walking the item list; `block` is this thread's row block.
template <typename Shape>
struct PlainCursor {
  const std::byte* block = nullptr;  // null: the group has no such row block
  int32_t column = 0;
  int32_t end = 0;
  int32_t next = -1;
  int32_t block_count = 0;
  bool done = false;

  __device__ void load(const PlainSplitMatmulParams& params, int32_t index) {
    const WorkItem& item = params.items[index];
    const int row = own_row<Shape>();
    column = item.slice_begin * params.slice_chunks * 64;
    end = min(item.slice_end * params.slice_chunks, params.chunks) * 64;
    next = item.next;
    block_count = item.block_count;
    block = row < block_count ? item.blocks[row] : nullptr;
  }
  __device__ void advance(const PlainSplitMatmulParams& params) {
    column += Shape::kStageCols;
    if (column < end) return;
    done = next < 0;
    if (!done) load(params, next);
  }
  // Of all threads, in this stage.
  __device__ uint32_t bytes() const {
    return static_cast<uint32_t>(block_count * min(Shape::kStageCols, end - column)) * 128;
  }
};

// Consecutive threads copy consecutive units: whole cache lines, so whole requests on a link.
template <typename Shape>
__device__ void copy_weights(const PlainCursor<Shape>& at, std::byte* stage) {
  if (at.block == nullptr) return;
  const int row = own_row<Shape>();
  const auto thread = static_cast<int>(threadIdx.x) % 128;
  const std::byte* source =
      at.block + int64_t{at.column / 64} * Shape::kChunkBytes + at.column % 64 * 16;
#pragma unroll
  for (int offset = thread * 16; offset < Shape::kRowBlockBytes; offset += 128 * 16) {
    if (at.column + offset / Shape::kPartBytes * 64 >= at.end) break;
    ptx::async_copy(stage + row * Shape::kRowBlockBytes + offset,
                    source + offset / Shape::kGroupBytes * 1024 + offset % Shape::kGroupBytes);
  }
}

// Where unit `unit` of row `row` of x lies in a stage, in units: any 8 neighbouring rows' units of
// one number lie in 8 different groups of banks.
template <typename Shape>
__device__ int x_place(int row, int unit) {
  const int turn = Shape::kXUnits >= 8 ? row % 8 : row / 2 % 4;
  return row * Shape::kXUnits + (unit ^ turn);
}

// Rows beyond the batch and columns beyond the weight's are zero: x may have anything there.
template <typename Shape>
__device__ void copy_x(const PlainSplitMatmulParams& params, int32_t column, std::byte* stage) {
  std::byte* tile = stage + Shape::kRows * Shape::kRowBlockBytes;
  for (auto i = static_cast<int>(threadIdx.x); i < Shape::kBatch * Shape::kXUnits;
       i += Shape::kThreads) {
    const int row = i / Shape::kXUnits;
    const int unit = i % Shape::kXUnits;
    const int32_t first = column + unit * 8;
    const int32_t values = row < params.epilogue.batch ? min(max(params.cols - first, 0), 8) : 0;
    const int64_t offset = values > 0 ? row * params.x_stride + first : 0;
    ptx::async_copy_zero_fill(tile + x_place<Shape>(row, unit) * 16, params.x + offset * 2,
                              static_cast<uint32_t>(values) * 2);
  }
}

// acc[64, kBatch] += weights[64, cols] x[kBatch, cols]^T, this thread's part in fragment order;
// `cols` a multiple of 64, or what a stage has if that is less.
template <typename T, typename Shape>
__device__ void multiply_stage(float (&acc)[Shape::kBatch / 8][4], const std::byte* stage, int row,
                               int thread, int cols) {
  const int lane = thread % 32;
  const std::byte* weights = stage + row * Shape::kRowBlockBytes +
                             (thread / 32 * 2 + lane / 8 % 2) * Shape::kGroupBytes +
                             lane / 16 * 128 + lane % 8 * 16;
  const std::byte* x = stage + Shape::kRows * Shape::kRowBlockBytes;
#pragma unroll
  for (int at = 0; at < Shape::kStageCols; at += 32) {
    if (at >= cols) break;
    const std::byte* part = weights + at / 64 * Shape::kPartBytes + at % 64 * 16;
    uint32_t first[4];
    uint32_t second[4];
    ptx::load_matrices(first, part);
    ptx::load_matrices(second, part + 256);  // two core matrices further
#pragma unroll
    for (int tile = 0; tile < Shape::kBatch / 8; ++tile) {
      uint32_t b[4];
      ptx::load_matrices(b, x + x_place<Shape>(tile * 8 + lane % 8, at / 8 + lane / 8) * 16);
      ptx::Mma<T>::multiply(acc[tile], first, b[0], b[1]);
      ptx::Mma<T>::multiply(acc[tile], second, b[2], b[3]);
    }
  }
}

template <typename Shape>
__device__ void store_plain_piece(const float (&sum)[Shape::kValues], float* slot, int thread) {
#pragma unroll
  for (int i = 0; i < Shape::kValues; ++i) __stcg(slot + i * 128 + thread, sum[i]);
}

// total = the pieces of one row block in order of slices.
template <typename Shape>
__device__ void sum_plain_pieces(float (&total)[Shape::kValues], const float* slots, int pieces,
                                 int thread) {
  constexpr int kTogether = Shape::kBatch <= 16 ? 8 : 2;  // 32 to 64 loads in flight
#pragma unroll
  for (int i = 0; i < Shape::kValues; ++i) total[i] = __ldcg(slots + i * 128 + thread);
#pragma unroll kTogether
  for (int piece = 1; piece < pieces; ++piece) {
    const float* slot = slots + static_cast<int64_t>(piece) * Shape::kTileValues + thread;
#pragma unroll
    for (int i = 0; i < Shape::kValues; ++i) total[i] += __ldcg(slot + i * 128);
  }
}

template <typename T, typename Shape>
__global__ __launch_bounds__(Shape::kThreads, 1) void plain_split_matmul(
    const __grid_constant__ PlainSplitMatmulParams params) {
  extern __shared__ __align__(128) std::byte stages[];
  __shared__ uint32_t is_last[Shape::kRows];
  const int row = own_row<Shape>();
  const int thread = static_cast<int>(threadIdx.x) % 128;
  const auto own = static_cast<int32_t>(blockIdx.x);
  constexpr int kAhead = Shape::kStages - 1;
  unsigned long long read_bytes = 0;  // as issued

  // The kernels before write no weights: those may come while they still run.
  ptx::launch_dependents();
  PlainCursor<Shape> loads;
  loads.load(params, own);
  PlainCursor<Shape> with_x = loads;
  for (int stage = 0; stage < kAhead && !loads.done; ++stage) {
    read_bytes += loads.bytes();
    copy_weights<Shape>(loads, stages + stage * Shape::kStageBytes);
    loads.advance(params);
  }
  ptx::grid_dependency_wait();
  for (int stage = 0; stage < kAhead; ++stage) {
    if (!with_x.done) {
      copy_x<Shape>(params, with_x.column, stages + stage * Shape::kStageBytes);
      with_x.advance(params);
    }
    ptx::async_copy_commit();
  }

  int slot = 0;  // of the stage to multiply
  for (int32_t index = own; index >= 0; index = params.items[index].next) {
    const WorkItem& item = params.items[index];
    const bool has_row = row < item.block_count;
    const int32_t pieces = item.piece_count;
    const bool merged = item.slice_begin == 0;
    float* slots =
        params.partials + static_cast<int64_t>(item.first_slot + row * pieces) * Shape::kTileValues;
    float total[Shape::kValues];  // of the slices so far, or of one
    for (int32_t slice = item.slice_begin; slice < item.slice_end; ++slice) {
      const int32_t end = min((slice + 1) * params.slice_chunks, params.chunks) * 64;
      float acc[Shape::kBatch / 8][4] = {};
      for (int32_t column = slice * params.slice_chunks * 64; column < end;
           column += Shape::kStageCols) {
        ptx::async_copy_wait<kAhead - 1>();
        __syncthreads();  // everybody's copies are there, and the slot before is free
        if (!loads.done) {
          std::byte* stage = stages + (slot + kAhead) % Shape::kStages * Shape::kStageBytes;
          read_bytes += loads.bytes();
          copy_weights<Shape>(loads, stage);
          copy_x<Shape>(params, loads.column, stage);
          loads.advance(params);
        }
        ptx::async_copy_commit();
        if (has_row) {
          multiply_stage<T, Shape>(acc, stages + slot * Shape::kStageBytes, row, thread,
                                   end - column);
        }
        slot = (slot + 1) % Shape::kStages;
      }
#pragma unroll
      for (int i = 0; i < Shape::kValues; ++i) {
        const float sum = acc[i / 4][i % 4];
        total[i] = merged && slice > 0 ? total[i] + sum : sum;
      }
      if (has_row && !merged) {
        const int64_t piece = item.piece_first + slice - item.slice_begin;
        store_plain_piece<Shape>(total, slots + piece * Shape::kTileValues, thread);
      }
    }
    if (!has_row) continue;
    if (pieces > 0) {
      if (merged) store_plain_piece<Shape>(total, slots, thread);
      const auto delivered = static_cast<uint32_t>(merged ? 1 : item.slice_end - item.slice_begin);
      if (!arrive_last(is_last[row], params.arrivals + item.block_index[row], delivered,
                       static_cast<uint32_t>(pieces), row, thread)) {
        continue;
      }
      sum_plain_pieces<Shape>(total, slots, pieces, thread);
    }
    store_outputs<Shape::kBatch>(params.epilogue, total, item.block_index[row], thread);
  }
  const int32_t tier = params.items[own].tier;
  if (threadIdx.x == 0 && tier > 0) {
    atomicAdd(&params.links[tier].read_bytes, read_bytes);
  }
}

}  // namespace dak
