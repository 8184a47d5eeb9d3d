// One loop for decode and prefill: the row block streams through the vector units once, chunk by
// chunk, while the sums of all of x's rows stay in the cache. An output's sum depends on its own
// row of x and of w alone, so neither the batch, the threads nor the placement change a bit.
//
// oneDNN's sgemm on unpacked blocks was the alternative for prefill: about as fast (the benchmark
// prints the ratio), but its bits depend on the machine and on the shape of the batch.
#include <algorithm>
#include <cstring>

#include "base/math.h"
#include "ops/cpu/backend.h"
#include "ops/cpu/kernels.h"

namespace dak::cpu {
namespace {

// Threads share rows in units of 16: two row groups, one gate and one up.
constexpr int64_t kUnitRows = 2 * kCoreSide;
constexpr int64_t kUnitsPerBlock = kRowBlockRows / kUnitRows;

// Chunks taken at a time when x has many rows: 64 rows x 512 columns at 16 bits are 64 KiB, which
// stay in L2 while all rows of x pass. With few rows chunks go one at a time, in address order:
// jumping between 8 chunks at batch 1 read memory at 54 % of the plain loop's speed, this at 90 %.
constexpr int64_t kPrefillChunks = 8;
constexpr int64_t kFewRows = 16;

// x with rows padded by zeros to whole chunks; x itself when they already are.
struct PaddedInput {
  const float* data;
  int64_t stride;
};

PaddedInput pad(OpContext& ctx, const Tensor& x) {
  const int64_t m = x.dim(0);
  const int64_t cols = x.dim(1);
  const int64_t stride = padded_cols(cols);
  if (stride == cols) return {x.f32(), cols};
  float* padded = ctx.scratch(kInputSlot, m * stride);
  for (int64_t i = 0; i < m; ++i) {
    float* row = padded + i * stride;
    std::memcpy(row, x.f32() + i * cols, static_cast<size_t>(cols) * sizeof(float));
    std::fill(row + cols, row + stride, 0.0f);
  }
  return {padded, stride};
}

// sums[i, r] for rows first_row .. first_row + rows of one block, r counted from first_row.
void block_product(const Kernels& isa, const TieredTensor& w, int64_t block, int64_t first_row,
                   int64_t rows, const PaddedInput& x, int64_t m, float* acc, float* sums) {
  std::memset(acc, 0, static_cast<size_t>(m * rows * kLanes) * sizeof(float));
  const int64_t chunks = padded_cols(w.cols) / kChunkCols;
  const int64_t step = m <= kFewRows ? 1 : kPrefillChunks;
  const std::byte* data =
      w.blocks[static_cast<size_t>(block)].data + bytes_of(w.dtype, offset_in_block(first_row, 0));
  for (int64_t chunk = 0; chunk < chunks; chunk += step) {
    const RowsView view{.data = data + bytes_of(w.dtype, chunk * kChunkElements),
                        .dtype = w.dtype,
                        .row_groups = rows / kCoreSide,
                        .row_stride = kCoreSide,
                        .row_group_stride = kCoreSide * kChunkCols,
                        .col_groups = kChunkCols / kCoreSide,
                        .col_group_stride = kCoreElements,
                        .chunks = std::min(step, chunks - chunk),
                        .chunk_stride = kChunkElements};
    isa.accumulate(view, x.data + chunk * kChunkCols, x.stride, m, acc);
  }
  isa.reduce(acc, m * rows, sums);
}

// Calls finish(block, first_row, rows, sums [m, rows]) for pieces that cover all rows of w.
template <class Finish>
void for_each_product(OpContext& ctx, const Tensor& x, const TieredTensor& w,
                      const Finish& finish) {
  const Kernels& isa = kernels();
  const int64_t m = x.dim(0);
  const PaddedInput input = pad(ctx, x);
  const int64_t acc_count = m * kRowBlockRows * kLanes;
  const int64_t sums_count = m * kRowBlockRows;
  float* scratch = ctx.scratch(kThreadSlot, ctx.pool->size() * (acc_count + sums_count));
  const int64_t units = ceil_div(w.rows, kUnitRows);
  ctx.pool->parallel_for(units, grain_of(kUnitRows * input.stride * m),
                         [&](int64_t begin, int64_t end, int thread) {
                           float* acc = scratch + thread * (acc_count + sums_count);
                           float* sums = acc + acc_count;
                           for (int64_t unit = begin; unit < end;) {
                             const int64_t block = unit / kUnitsPerBlock;
                             const int64_t last = std::min(end, (block + 1) * kUnitsPerBlock);
                             const int64_t first_row = unit % kUnitsPerBlock * kUnitRows;
                             const int64_t rows = (last - unit) * kUnitRows;
                             block_product(isa, w, block, first_row, rows, input, m, acc, sums);
                             finish(isa, block * kRowBlockRows + first_row, rows, sums);
                             unit = last;
                           }
                         });
}

}  // namespace

void matmul(OpContext& ctx, const Tensor& x, const TieredTensor& w, const Tensor& out,
            const MatmulEpilogue& epilogue) {
  const int64_t m = x.dim(0);
  for_each_product(ctx, x, w, [&](const Kernels& isa, int64_t row, int64_t rows, float* sums) {
    const int64_t valid = std::min(rows, w.rows - row);
    for (int64_t i = 0; i < m; ++i) {
      float* values = sums + i * rows;
      if (epilogue.bias != nullptr) {
        for (int64_t r = 0; r < valid; ++r) values[r] += epilogue.bias[row + r];
      }
      isa.activate(epilogue.activation, values, rows);
      float* target = out.f32() + i * w.rows + row;
      if (epilogue.add_to_output) {
        for (int64_t r = 0; r < valid; ++r) target[r] += values[r];
      } else {
        std::memcpy(target, values, static_cast<size_t>(valid) * sizeof(float));
      }
    }
  });
}

void matmul_gated(OpContext& ctx, const Tensor& x, const TieredTensor& gate_up, const Tensor& out,
                  Activation activation) {
  const int64_t m = x.dim(0);
  const int64_t out_cols = gate_up.rows / 2;
  for_each_product(ctx, x, gate_up,
                   [&](const Kernels& isa, int64_t row, int64_t rows, float* sums) {
                     const int64_t valid = std::min(rows, gate_up.rows - row);
                     for (int64_t i = 0; i < m; ++i) {
                       float* target = out.f32() + i * out_cols + row / 2;
                       for (int64_t r = 0; r < valid; r += kUnitRows) {
                         float* gate = sums + i * rows + r;
                         const float* up = gate + kCoreSide;
                         isa.activate(activation, gate, kCoreSide);
                         for (int64_t j = 0; j < kCoreSide; ++j)
                           target[r / 2 + j] = gate[j] * up[j];
                       }
                     }
                   });
}

}  // namespace dak::cpu
