// Parts of dak_bench_cpu: synthetic weights, repeated timing, and the two measurements.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/tensor.h"
#include "memory/arena.h"
#include "memory/tiered_tensor.h"
#include "ops/context.h"

namespace dak::bench {

struct Shape {
  std::string_view name;
  int64_t rows;
  int64_t cols;
};

inline constexpr Shape kSmolLm2Layer[] = {{"q", 576, 576},        {"k", 192, 576},
                                          {"v", 192, 576},        {"o", 576, 576},
                                          {"gate_up", 3072, 576}, {"down", 576, 1536}};
inline constexpr Shape kLlama8bLayer[] = {{"q", 4096, 4096},        {"k", 1024, 4096},
                                          {"v", 1024, 4096},        {"o", 4096, 4096},
                                          {"gate_up", 28672, 4096}, {"down", 4096, 14336}};

// Seconds of several repeats: the median is reported, and half the range between quartiles over
// it as spread.
struct Times {
  std::vector<double> seconds;

  double quantile(double q) const {
    std::vector<double> sorted = seconds;
    std::sort(sorted.begin(), sorted.end());
    return sorted[static_cast<size_t>(std::lround(q * static_cast<double>(sorted.size() - 1)))];
  }
  double median() const { return quantile(0.5); }
  double spread() const { return (quantile(0.75) - quantile(0.25)) / 2 / median(); }
};

template <class Body>
double seconds_of(const Body& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  return elapsed.count();
}

inline int64_t weight_bytes(const Shape& shape, DType dtype) {
  return row_blocks_of(shape.rows) * row_block_bytes(shape.cols, dtype);
}

// A weight at `memory`, of values in [-0.5, 0.5) that depend on (seed, row, col) alone.
TieredTensor make_weight(std::byte* memory, ThreadPool& pool, const Shape& shape, DType dtype,
                         uint32_t seed);
float weight_value(uint32_t seed, int64_t row, int64_t col);  // exact in bf16
float input_value(int64_t row, int64_t col);

// Throws kInternal unless out = x w^T at some 100 places spread over it, against fp64.
void verify(const Tensor& x, const Shape& shape, uint32_t seed, const Tensor& out);

struct DecodeResult {
  std::string model;
  int64_t bytes = 0;
  Times read;    // the plain loop over the same bytes
  Times matmul;  // batch 1, every weight once
  double ratio = 0;
};

// Decode at batch 1 in bf16 over copies of the layer that together fill `bytes`.
DecodeResult measure_decode(OpContext& ctx, std::string_view model, const Shape* layer,
                            size_t shapes, int64_t bytes, int repeats);

struct PrefillResult {
  Shape shape;
  int64_t m = 0;
  Times onednn;
  Times matmul;
  double ratio = 0;
};

PrefillResult measure_prefill(OpContext& ctx, const Shape& shape, int64_t m, int repeats);

}  // namespace dak::bench
