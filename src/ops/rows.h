// Moving rows and columns of activations.
#pragma once

#include <cstdint>
#include <span>

#include "base/tensor.h"
#include "ops/context.h"

namespace dak {

// Cuts x [m, sum of widths] into `parts`, each [m, its own width] (or [m, heads, head_size]).
void split_columns(OpContext& ctx, const Tensor& x, std::span<const Tensor> parts);

// out[i, :] = x[rows[i], :].  x: f32 [m, d]; out: f32 [rows, d].
void gather_rows(OpContext& ctx, const Tensor& x, std::span<const int32_t> rows, const Tensor& out);

// x's values where the CPU can read them, once every operation before has finished: x itself, or a
// copy that is good until the next call.
std::span<const float> host_values(OpContext& ctx, const Tensor& x);

}  // namespace dak
