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
// that alternates 8 rows of gate with 8 rows of up (gated_source_row in memory/weight_layout.h).
void matmul_gated(OpContext& ctx, const Tensor& x, const TieredTensor& gate_up, const Tensor& out,
                  Activation activation);

}  // namespace dak
