#pragma once

#include "base/tensor.h"
#include "ops/context.h"

namespace dak {

// out = x / sqrt(mean(x^2) + epsilon) * weight over the last dimension of x; x and out may be the
// same. f32, on the GPU `out` also f16 or bf16; mean of squares accumulated in f32 in a fixed
// order. x: [m, d] or, for QK-norm, [m, heads, d] with weight [d].
void rms_norm(OpContext& ctx, const Tensor& x, const float* weight, float epsilon,
              const Tensor& out);

// out = (x - mean) / sqrt(variance + epsilon) * weight + bias over the last dimension.
void layer_norm(OpContext& ctx, const Tensor& x, const float* weight, const float* bias,
                float epsilon, const Tensor& out);

}  // namespace dak
