// Products with a tiered weight: every row block is read once per call from where it lies.
#pragma once

#include "base/activation.h"
#include "base/tensor.h"
#include "memory/tiered_tensor.h"
#include "ops/context.h"

namespace dak {

struct MatmulEpilogue {
  const float* bias = nullptr;  // [rows]; added first
  Activation activation = Activation::kNone;
  bool add_to_output = false;  // out += instead of out =: the residual connection
};

// out[m, n] = activation(x[m, k] w[n, k]^T + bias) (+ out).  x, out: f32, on the GPU also the
// weight's type (out rounded to nearest); w: f32, f16 or bf16.
// Accumulates in f32, in an order fixed by (m, n, k) alone: placement and number of threads never
// change a bit. On the CPU m does not either; on a GPU it counts by its class: up to 16 rows, up to
// 32, up to 64, more. Adds the bytes of every row block to ctx.traffic.
void matmul(OpContext& ctx, const Tensor& x, const TieredTensor& w, const Tensor& out,
            const MatmulEpilogue& epilogue = {});

// Gated MLP: out[m, n] = activation(x gate^T) * (x up^T), both [n, k], in one weight of 2n rows
// that alternates 8 rows of gate with 8 rows of up (gated_source_row), so that one row block holds
// both factors of its outputs.
void matmul_gated(OpContext& ctx, const Tensor& x, const TieredTensor& gate_up, const Tensor& out,
                  Activation activation);

// Row r of the interleaved weight: whether it is up's, and which row of gate or up it holds. n must
// be a multiple of 8.
struct GatedRow {
  bool is_up;
  int64_t row;
};
constexpr GatedRow gated_source_row(int64_t r) {
  return {.is_up = r / 8 % 2 == 1, .row = r / 16 * 8 + r % 8};
}

}  // namespace dak
