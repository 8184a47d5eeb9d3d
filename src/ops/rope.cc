#include "ops/rope.h"

#include "ops/cpu/backend.h"
#include "ops/cuda/backend.h"

namespace dak {

void rope(OpContext& ctx, std::span<const int32_t> positions, const RopeFrequencies& frequencies,
          const Tensor& x) {
  require(x.rank == 3 && x.dtype == DType::kF32, "rope: x must be f32 [m, heads, head_size]");
  require(x.dim(0) == static_cast<int64_t>(positions.size()), "rope: one position per row of x");
  require(2 * static_cast<int64_t>(frequencies.inverse.size()) <= x.dim(2),
          "rope: more rotary dimensions than the head has");
  switch (ctx.backend) {
    case Backend::kCpu:
      return cpu::rope(ctx, positions, frequencies, x);
    case Backend::kCuda:
      return cuda::rope(ctx, positions, frequencies, x);
  }
}

}  // namespace dak
