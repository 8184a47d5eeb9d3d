// How a weight lies in memory: row blocks of 64 output rows, cut into chunks that one bulk copy
// fetches and both the CPU's vector units and the GPU's matrix units read without rearranging.
//
//   weight [rows, cols]  ->  row block i = rows 64i .. 64i+63, all of cols
//   row block            ->  chunks j = cols 64j .. 64j+63, contiguous, in order of j
//   chunk [64, 64]       ->  8 row groups x 8 column groups of core matrices, row group outermost
//   core matrix [8, 8]   ->  8 rows of 8 consecutive columns, contiguous (128 bytes at 16 bits)
//
// A core matrix is what ldmatrix, wgmma (no swizzle) and a 512-bit load of 4 rows x 8 columns want.
// Rows and columns are padded with zeros to multiples of 64.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "base/math.h"

namespace dak {

inline constexpr int64_t kRowBlockRows = 64;
inline constexpr int64_t kChunkCols = 64;
inline constexpr int64_t kCoreSide = 8;
inline constexpr int64_t kCoreElements = kCoreSide * kCoreSide;
inline constexpr int64_t kChunkElements = kRowBlockRows * kChunkCols;
// Of a weight of 16 bits: what kernels copy from a remote tier at a time and count its window in.
inline constexpr uint32_t kChunkBytes = kChunkElements * 2;

constexpr int64_t row_blocks_of(int64_t rows) { return ceil_div(rows, kRowBlockRows); }
constexpr int64_t padded_cols(int64_t cols) { return round_up(cols, kChunkCols); }

// Element offset of (row, col) inside its row block; row in [0, 64), col in [0, padded cols).
constexpr int64_t offset_in_block(int64_t row, int64_t col) {
  const int64_t chunk = col / kChunkCols;
  const int64_t row_group = row / kCoreSide;
  const int64_t col_group = col % kChunkCols / kCoreSide;
  return chunk * kChunkElements + (row_group * kCoreSide + col_group) * kCoreElements +
         row % kCoreSide * kCoreSide + col % kCoreSide;
}

// A gated MLP's weight alternates 8 rows of gate with 8 rows of up, so that one row block holds
// both factors of its outputs. Row r of it: whether it is up's, and which row of gate or up it
// holds. The rows of each must be a multiple of 8.
struct GatedRow {
  bool is_up;
  int64_t row;
};
constexpr GatedRow gated_source_row(int64_t r) {
  return {.is_up = r / 8 % 2 == 1, .row = r / 16 * 8 + r % 8};
}

// Bytes of one row block; the same for every block of a weight, the padded last one included.
inline int64_t row_block_bytes(int64_t cols, DType dtype) {
  return bytes_of(dtype, kRowBlockRows * padded_cols(cols));
}

// Packs `rows` <= 64 rows of row-major f32 [rows, cols] into the block at `out` as `dtype`
// (f32, f16 or bf16), padding with zeros.
void pack_row_block(const float* values, int64_t rows, int64_t cols, DType dtype, std::byte* out);

// Zeroes what lies past `rows` and `cols` in the block at `block`, as pack_row_block leaves it.
void clear_padding(std::byte* block, int64_t rows, int64_t cols, DType dtype);

// The reverse of packing: the first `rows` rows as row-major f32 [rows, cols].
void unpack_row_block(const std::byte* block, int64_t rows, int64_t cols, DType dtype, float* out);

}  // namespace dak
