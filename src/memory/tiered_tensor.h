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

struct RowBlock {
  std::byte* data = nullptr;  // [64, padded cols] in the order of weight_layout.h
  TierIndex tier = 0;
};

struct TieredTensor {
  std::string name;
  DType dtype = DType::kF32;  // f32, f16 or bf16
  int64_t rows = 0;           // outputs
  int64_t cols = 0;           // inputs
  std::vector<RowBlock> blocks;

  int64_t block_bytes() const { return row_block_bytes(cols, dtype); }
  // Rows of block `i` that are not padding.
  int64_t rows_in_block(int64_t i) const {
    return i + 1 < static_cast<int64_t>(blocks.size()) ? kRowBlockRows : rows - i * kRowBlockRows;
  }
};

}  // namespace dak
