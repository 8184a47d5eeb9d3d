#include <algorithm>
#include <cstring>

#include "base/half.h"
#include "ops/cpu/backend.h"

namespace dak::cpu {
namespace {

float load(const std::byte* data, DType dtype, int64_t element) {
  if (dtype == DType::kF32) {
    float value;
    std::memcpy(&value, data + element * 4, sizeof(value));
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, data + element * 2, sizeof(bits));
  return half_to_f32(dtype, bits);
}

}  // namespace

void embedding(OpContext& ctx, std::span<const int32_t> ids, const TieredTensor& table,
               const Tensor& out, int32_t offset, bool add) {
  const int64_t cols = table.cols;
  ctx.pool->parallel_for(
      static_cast<int64_t>(ids.size()), grain_of(cols), [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t row = int64_t{ids[static_cast<size_t>(i)]} + offset;
          const std::byte* block = table.blocks[static_cast<size_t>(row / kRowBlockRows)].data;
          float* target = out.f32() + i * cols;
          for (int64_t col = 0; col < cols; ++col) {
            const float value = load(block, table.dtype, offset_in_block(row % kRowBlockRows, col));
            target[col] = add ? target[col] + value : value;
          }
        }
      });
}

}  // namespace dak::cpu
