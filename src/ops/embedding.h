#pragma once

#include <cstdint>
#include <span>

#include "base/tensor.h"
#include "memory/tiered_tensor.h"
#include "ops/context.h"

namespace dak {

// out[i, :] = table[ids[i] + offset, :].  out: f32 [ids, cols]. With `add`, out += instead (learned
// positions). Counts the bytes of the rows read. ids must be in range (require).
void embedding(OpContext& ctx, std::span<const int32_t> ids, const TieredTensor& table,
               const Tensor& out, int32_t offset = 0, bool add = false);

}  // namespace dak
