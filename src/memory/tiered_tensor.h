// A weight whose row blocks lie in different tiers. Kernels see addresses; only the plan chose
// them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "memory/tier.h"
#include "memory/weight_layout.h"

namespace dak {

enum class WeightLayout : uint8_t {
  kPacked,    // weight_layout.h
  kRowMajor,  // [rows, cols] without padding, all blocks consecutive: for cuBLASLt (mode uva)
};

struct RowBlock {
  std::byte* data = nullptr;  // [64, padded cols] packed, or the first of 64 plain rows
  TierIndex tier = 0;
};

struct TieredTensor {
  std::string name;
  DType dtype = DType::kF32;  // f32, f16 or bf16
  int64_t rows = 0;           // outputs
  int64_t cols = 0;           // inputs
  std::vector<RowBlock> blocks;
  WeightLayout layout = WeightLayout::kPacked;
  std::string kind = {};  // alike in all layers: "layers.*.qkv"; what timers count it as
  int32_t id = -1;        // of its declaration (pass/program.h); -1: not a model's

  int64_t block_bytes() const {  // from one block to the next
    return layout == WeightLayout::kPacked ? row_block_bytes(cols, dtype)
                                           : bytes_of(dtype, kRowBlockRows * cols);
  }
  // What block `i` takes up: the last of a row-major weight ends with its rows.
  int64_t bytes_in_block(int64_t i) const {
    return layout == WeightLayout::kPacked ? block_bytes()
                                           : bytes_of(dtype, rows_in_block(i) * cols);
  }
  // Rows of block `i` that are not padding.
  int64_t rows_in_block(int64_t i) const {
    return i + 1 < static_cast<int64_t>(blocks.size()) ? kRowBlockRows : rows - i * kRowBlockRows;
  }
};

}  // namespace dak
