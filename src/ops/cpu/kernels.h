// Inner loops of the CPU operations, one table of functions per instruction set. Internal to ops.
//
// Every variant gives the same bits: sums run over 8 lanes (lane l adds elements l, 8 + l, ...)
// with fused multiply-add, and the lanes are then added in one fixed tree. A wider register only
// holds more independent sums.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/activation.h"
#include "base/dtype.h"

namespace dak::cpu {

inline constexpr int64_t kLanes = 8;

// Rows in groups of 8, columns in groups of 8 that may be cut into chunks: a row block in core
// matrices (weight_layout.h) or the keys of a KV page. Strides count elements.
struct RowsView {
  const std::byte* data = nullptr;
  DType dtype = DType::kF32;  // f32, f16 or bf16
  int64_t row_groups = 0;
  int64_t row_stride = 0;  // inside a row group; 8 means core matrices
  int64_t row_group_stride = 0;
  int64_t col_groups = 0;  // per chunk
  int64_t col_group_stride = 0;
  int64_t chunks = 1;
  int64_t chunk_stride = 0;
};

struct Kernels {
  std::string_view isa;

  // acc[i, r, lane] += sum over columns c = lane (mod 8) of w[r, c] x[i, c], in order of c.
  // x: [m, >= columns of w], row stride `x_stride`; acc: [m, 8 row_groups, 8], 64-byte aligned.
  void (*accumulate)(const RowsView& w, const float* x, int64_t x_stride, int64_t m, float* acc);

  // out[i] = sum of acc[8i .. 8i+7]: ((0+4) + (1+5)) + ((2+6) + (3+7)). count: multiple of 4.
  void (*reduce)(const float* acc, int64_t count, float* out);

  // Largest of count values; count: multiple of 8.
  float (*largest)(const float* values, int64_t count);

  // values[i] = exp(values[i] - shift); returns their sum over 8 lanes. count: multiple of 8.
  float (*exp_and_sum)(float* values, int64_t count, float shift);

  // out[q, :] += sum over rows t, in order, of p[q, t] v[t, :], for q in [0, queries).
  // v: [rows, size] of dtype, size a multiple of 8; out: [queries, size] f32.
  void (*add_weighted_rows)(const float* p, int64_t p_stride, int64_t queries, const std::byte* v,
                            DType dtype, int64_t rows, int64_t size, float* out);

  // values[i] = activation(values[i]); count: multiple of 8.
  void (*activate)(Activation activation, float* values, int64_t count);
};

// The best table this machine runs, unless forced.
const Kernels& kernels();

// Every table this machine runs, the portable one first.
std::span<const Kernels* const> runnable_kernels();

// For tests and benchmarks: makes kernels() return `forced` until called with nullptr.
void force_kernels(const Kernels* forced);

extern const Kernels kScalarKernels;
#if defined(__x86_64__)
extern const Kernels kAvx2Kernels;    // AVX2, FMA, F16C
extern const Kernels kAvx512Kernels;  // AVX-512 F, BW, DQ, VL
#endif

}  // namespace dak::cpu
