#include "memory/weight_layout.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/half.h"

namespace dak {
namespace {

// One core-matrix row: up to 8 consecutive columns of one row, the rest zero.
template <typename Stored, typename Convert>
void pack_as(const float* values, int64_t rows, int64_t cols, Stored* out, Convert convert) {
  for (int64_t row = 0; row < kRowBlockRows; ++row) {
    for (int64_t col = 0; col < padded_cols(cols); col += kCoreSide) {
      Stored* core_row = out + offset_in_block(row, col);
      const int64_t valid = row < rows ? std::clamp<int64_t>(cols - col, 0, kCoreSide) : 0;
      for (int64_t i = 0; i < valid; ++i) core_row[i] = convert(values[row * cols + col + i]);
      for (int64_t i = valid; i < kCoreSide; ++i) core_row[i] = Stored{};
    }
  }
}

template <typename Stored, typename Convert>
void unpack_as(const Stored* block, int64_t rows, int64_t cols, float* out, Convert convert) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t col = 0; col < cols; col += kCoreSide) {
      const Stored* core_row = block + offset_in_block(row, col);
      const int64_t valid = std::min<int64_t>(cols - col, kCoreSide);
      for (int64_t i = 0; i < valid; ++i) out[row * cols + col + i] = convert(core_row[i]);
    }
  }
}

}  // namespace

void pack_row_block(const float* values, int64_t rows, int64_t cols, DType dtype, std::byte* out) {
  require(rows >= 0 && rows <= kRowBlockRows, "pack_row_block: rows");
  switch (dtype) {
    case DType::kF32:
      return pack_as(values, rows, cols, reinterpret_cast<float*>(out), [](float v) { return v; });
    case DType::kF16:
      return pack_as(values, rows, cols, reinterpret_cast<uint16_t*>(out), f32_to_f16);
    case DType::kBF16:
      return pack_as(values, rows, cols, reinterpret_cast<uint16_t*>(out), f32_to_bf16);
    default:
      refuse_dtype("pack_row_block", dtype);
  }
}

void clear_padding(std::byte* block, int64_t rows, int64_t cols, DType dtype) {
  const int64_t element = bytes_of(dtype, 1);
  for (int64_t row = 0; row < kRowBlockRows; ++row) {
    for (int64_t col = row < rows ? cols : 0; col < padded_cols(cols); ++col) {
      std::memset(block + offset_in_block(row, col) * element, 0, static_cast<size_t>(element));
    }
  }
}

void unpack_row_block(const std::byte* block, int64_t rows, int64_t cols, DType dtype, float* out) {
  switch (dtype) {
    case DType::kF32:
      return unpack_as(reinterpret_cast<const float*>(block), rows, cols, out,
                       [](float v) { return v; });
    case DType::kF16:
      return unpack_as(reinterpret_cast<const uint16_t*>(block), rows, cols, out, f16_to_f32);
    case DType::kBF16:
      return unpack_as(reinterpret_cast<const uint16_t*>(block), rows, cols, out, bf16_to_f32);
    default:
      refuse_dtype("unpack_row_block", dtype);
  }
}

}  // namespace dak
