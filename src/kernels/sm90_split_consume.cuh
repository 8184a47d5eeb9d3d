// The arithmetic of a split matmul: stages of the ring into sums, sums into outputs.
#pragma once

#include "kernels/ptx/wgmma.cuh"
#include "kernels/sm90_split_epilogue.cuh"
#include "kernels/sm90_split_matmul.h"
#include "kernels/sm90_split_stages.cuh"

namespace dak {

// Begins acc[c] = (or +=) weights[64, 64] x[kBatch, 64]^T for each chunk c of the stage. One
// accumulator a chunk: a wgmma this narrow is all latency, so chains must run side by side. No
// branches: ptxas serialises wgmmas (C7520) on paths it cannot prove uniform. Weights: core
// matrices of 128 bytes, 8 along K, so 128 bytes to the next 8 columns and 1024 to the next 8 rows.
// x: rows of 128 bytes, swizzled.
template <typename T, typename Shape>
__device__ void multiply_stage(float (&acc)[Shape::kCols][Shape::kValues], const std::byte* weights,
                               const std::byte* x, int accumulate) {
  const uint64_t a = ptx::matrix_descriptor(weights, 128, 1024, ptx::Swizzle::kNone);
  const uint64_t b = ptx::matrix_descriptor(x, 16, 1024, ptx::Swizzle::k128);
  ptx::wgmma_fence();
#pragma unroll
  for (int step = 0; step < 4; ++step) {
#pragma unroll
    for (int chunk = 0; chunk < Shape::kCols; ++chunk) {
      // 16 columns further: 256 bytes of core matrices, 32 bytes of a row; in units of 16 bytes.
      ptx::Wgmma<T, Shape::kBatch>::multiply(
          acc[chunk], a + chunk * (Shape::kRows * Shape::kChunkBytes / 16) + step * 16,
          b + chunk * (Shape::kXTileBytes / 16) + step * 2, step > 0 ? 1 : accumulate);
    }
  }
  ptx::wgmma_commit();
}

// The last stage of K may have fewer chunks: what it held before must not meet the zeros of x,
// since it may be NaN. Rare, so simple.
template <typename Shape>
__device__ void clear_missing(std::byte* stages, uint32_t stage, int row, int chunks, int thread) {
  for (int col = chunks; col < Shape::kCols; ++col) {
    auto* part = reinterpret_cast<uint4*>(part_in<Shape>(stages, stage, col * Shape::kRows + row));
    for (uint32_t i = static_cast<uint32_t>(thread); i < Shape::kChunkBytes / 16; i += 128) {
      part[i] = uint4{};
    }
  }
  ptx::fence_proxy_async();
  ptx::named_barrier(static_cast<uint32_t>(1 + row), 128);
}

// total = the pieces of one row block in order of slices. 64 loads in flight hide L2's latency.
template <typename Shape>
__device__ void reduce_pieces(float (&total)[Shape::kValues], const float* slots, int pieces,
                              int thread) {
  constexpr int kTogether = 8;
  constexpr int kWidth = Shape::kValues < 8 ? Shape::kValues : 8;
#pragma unroll
  for (int base = 0; base < Shape::kValues; base += kWidth) {
    for (int first = 0; first < pieces; first += kTogether) {
      float values[kTogether][kWidth];
#pragma unroll
      for (int p = 0; p < kTogether; ++p) {
        const float* slot =
            slots + static_cast<int64_t>(min(first + p, pieces - 1)) * Shape::kTileValues;
#pragma unroll
        for (int i = 0; i < kWidth; ++i) values[p][i] = __ldcg(slot + (base + i) * 128 + thread);
      }
#pragma unroll
      for (int p = 0; p < kTogether; ++p) {
        if (first + p >= pieces) break;
#pragma unroll
        for (int i = 0; i < kWidth; ++i) {
          total[base + i] = first + p == 0 ? values[p][i] : total[base + i] + values[p][i];
        }
      }
    }
  }
}

template <typename Shape>
__device__ void store_piece(const float (&sum)[Shape::kValues], float* slot, int thread) {
#pragma unroll
  for (int i = 0; i < Shape::kValues; ++i) __stcg(slot + i * 128 + thread, sum[i]);
}

// What one product is, beside its items.
struct SplitProduct {
  float* partials;     // [slots, 64 * kBatch] in fragment order
  uint32_t* arrivals;  // [row blocks], zero between products
  int32_t chunks;      // of 64 columns
  int32_t slice_chunks;
  const SplitEpilogue& epilogue;
};

// One item, by warpgroup `row` of the thread block: takes its stages from the ring, from `at` on.
template <typename T, typename Shape>
__device__ void consume_item(const SplitProduct& product, const WorkItem& item,
                             SplitMatmulShared<Shape>& shared, std::byte* stages,
                             RingPosition<Shape::kStages>& at, int row, int thread) {
  uint32_t previous = 0;                    // stage whose products may still be in flight
  float acc[Shape::kCols][Shape::kValues];  // of this slice
  float total[Shape::kValues];              // of the slices so far, or of one
  const bool has_row = row < item.block_count;
  const int32_t slice_begin = item.slice_begin;
  const int32_t slice_end = item.slice_end;
  const int32_t pieces = item.piece_count;
  const bool merged = slice_begin == 0;
  float* slots =
      product.partials + static_cast<int64_t>(item.first_slot + row * pieces) * Shape::kTileValues;
  for (int32_t slice = slice_begin; slice < slice_end; ++slice) {
    const int32_t first = slice * product.slice_chunks;
    const int32_t end = min(first + product.slice_chunks, product.chunks);
    for (int32_t chunk = first; chunk < end; chunk += Shape::kCols) {
      const int parts = min(Shape::kCols, end - chunk);
      ptx::mbarrier_wait(&shared.ring.x_full[at.stage], at.phase);
      // Parts that the stage lacks too: a phase that no warp waits for could be overtaken.
#pragma unroll
      for (int col = 0; col < Shape::kCols; ++col) {
        ptx::mbarrier_wait(&shared.ring.full[at.stage][col * Shape::kRows + row], at.phase);
      }
      if (has_row) {
        if (parts < Shape::kCols) clear_missing<Shape>(stages, at.stage, row, parts, thread);
        multiply_stage<T, Shape>(acc, part_in<Shape>(stages, at.stage, row),
                                 part_in<Shape>(stages, at.stage, Shape::kParts),
                                 chunk > first ? 1 : 0);
      }
      // One stage's products stay in flight; the one before is done and its stage free.
      ptx::wgmma_wait<1>();
      if (chunk > first && thread % 32 == 0) ptx::mbarrier_arrive(&shared.ring.empty[previous]);
      previous = at.stage;
      at.advance();
    }
    ptx::wgmma_wait<0>();
    if (thread % 32 == 0) ptx::mbarrier_arrive(&shared.ring.empty[previous]);
    if (!has_row) continue;
#pragma unroll
    for (int col = 0; col < Shape::kCols; ++col) {
#pragma unroll
      for (float& value : acc[col]) ptx::wgmma_pin(value);
    }
#pragma unroll
    for (int i = 0; i < Shape::kValues; ++i) {
      float sum = acc[0][i];
#pragma unroll
      for (int col = 1; col < Shape::kCols; ++col) sum += acc[col][i];
      total[i] = merged && slice > 0 ? total[i] + sum : sum;
    }
    if (!merged) {
      store_piece<Shape>(
          total,
          slots + static_cast<int64_t>(item.piece_first + slice - slice_begin) * Shape::kTileValues,
          thread);
    }
  }
  if (!has_row) return;
  if (pieces > 0) {
    if (merged) store_piece<Shape>(total, slots, thread);
    const auto delivered = static_cast<uint32_t>(merged ? 1 : slice_end - slice_begin);
    if (!arrive_last(shared.is_last[row], product.arrivals + item.block_index[row], delivered,
                     static_cast<uint32_t>(pieces), row, thread)) {
      return;
    }
    reduce_pieces<Shape>(total, slots, pieces, thread);
  }
  store_outputs<Shape::kBatch>(product.epilogue, total, item.block_index[row], thread);
}

}  // namespace dak
