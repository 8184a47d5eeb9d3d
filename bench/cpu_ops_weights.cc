#include <cmath>

#include "base/half.h"
#include "base/tensor.h"
#include "bench/cpu_ops.h"

namespace dak::bench {
namespace {

uint32_t mix(uint32_t h) {
  h ^= h >> 16;
  h *= 0x7feb352du;
  h ^= h >> 15;
  h *= 0x846ca68bu;
  return h ^ (h >> 16);
}

// 128 levels in [-0.5, 0.5): exact in bf16.
float level(uint32_t hash) { return static_cast<float>(hash % 128) / 128.0f - 0.5f; }

void fill_block(const Shape& shape, uint32_t seed, int64_t block, DType dtype, std::byte* out) {
  const int64_t first = block * kRowBlockRows;
  const int64_t rows = std::min(kRowBlockRows, shape.rows - first);
  std::vector<float> values(static_cast<size_t>(rows * shape.cols));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < shape.cols; ++c) {
      values[static_cast<size_t>(r * shape.cols + c)] = weight_value(seed, first + r, c);
    }
  }
  pack_row_block(values.data(), rows, shape.cols, dtype, out);
}

}  // namespace

float weight_value(uint32_t seed, int64_t row, int64_t col) {
  return level(
      mix(seed * 0x9e3779b9u + static_cast<uint32_t>(row) * 65599u + static_cast<uint32_t>(col)));
}

float input_value(int64_t row, int64_t col) {
  return level(mix(static_cast<uint32_t>(row) * 40503u + static_cast<uint32_t>(col) + 77u));
}

TieredTensor make_weight(std::byte* memory, ThreadPool& pool, const Shape& shape, DType dtype,
                         uint32_t seed) {
  TieredTensor w{.name = std::string(shape.name),
                 .dtype = dtype,
                 .rows = shape.rows,
                 .cols = shape.cols,
                 .blocks = {}};
  const int64_t blocks = row_blocks_of(shape.rows);
  for (int64_t i = 0; i < blocks; ++i) {
    w.blocks.push_back({.data = memory + i * w.block_bytes(), .tier = 0});
  }
  pool.parallel_for(blocks, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      fill_block(shape, seed, i, dtype, w.blocks[static_cast<size_t>(i)].data);
    }
  });
  return w;
}

void verify(const Tensor& x, const Shape& shape, uint32_t seed, const Tensor& out) {
  constexpr int64_t kPlaces = 100;
  for (int64_t place = 0; place < kPlaces; ++place) {
    const int64_t row = place * 7919 % x.dim(0);
    const int64_t col = place * 104729 % shape.rows;
    double exact = 0;
    double magnitude = 0;
    for (int64_t c = 0; c < shape.cols; ++c) {
      const double product =
          static_cast<double>(x.row(row)[static_cast<size_t>(c)]) * weight_value(seed, col, c);
      exact += product;
      magnitude += std::abs(product);
    }
    const double error = std::abs(out.row(row)[static_cast<size_t>(col)] - exact);
    require(error <= 1e-6 * magnitude, "benchmark: a product is wrong");
  }
}

}  // namespace dak::bench
