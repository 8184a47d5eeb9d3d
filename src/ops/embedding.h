#pragma once

#include <cstdint>
#include <span>

#include "base/tensor.h"
#include "memory/tiered_tensor.h"
#include "ops/context.h"

namespace dak {

// out[i, :] = table[ids[i], :].  out: f32 [ids, cols]. Counts the bytes of the rows read. ids must
// be in range (require).
void embedding(OpContext& ctx, std::span<const int32_t> ids, const TieredTensor& table,
               const Tensor& out);

// Learned positions: out[i, :] += table[positions[i] + offset, :].
void add_positions(OpContext& ctx, std::span<const int32_t> positions, const TieredTensor& table,
                   int32_t offset, const Tensor& out);

}  // namespace dak
