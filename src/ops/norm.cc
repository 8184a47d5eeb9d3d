#include "ops/norm.h"

#include "ops/cpu/backend.h"
#include "ops/cuda/backend.h"
#include "pass/names.h"

namespace dak {
namespace {

void check(const OpContext& ctx, const Tensor& x, const Tensor& out) {
  require(x.dtype == DType::kF32, "norm: x must be f32");
  require(out.dtype == DType::kF32 || ctx.backend == Backend::kCuda, "norm: out must be f32");
  require(x.rank >= 1 && x.dim(x.rank - 1) > 0, "norm: x has no columns");
  require(x.rank == out.rank && x.shape == out.shape, "norm: shapes of x and out differ");
}

void note_norm(OpContext& ctx, const Tensor& x) {
  ctx.notes->add({.kind = StepKind::kNorm, .cols = x.dim(x.rank - 1)}, x.dim(0));
}

}  // namespace

void rms_norm(OpContext& ctx, const Tensor& x, const float* weight, float epsilon,
              const Tensor& out) {
  check(ctx, x, out);
  require(weight != nullptr, "rms_norm: no weight");
  if (ctx.notes != nullptr) return note_norm(ctx, x);
  const TimedOperation timed(ctx, kNormsKind);
  switch (ctx.backend) {
    case Backend::kCpu:
      return cpu::rms_norm(ctx, x, weight, epsilon, out);
    case Backend::kCuda:
      return cuda::rms_norm(ctx, x, weight, epsilon, out);
  }
}

void layer_norm(OpContext& ctx, const Tensor& x, const float* weight, const float* bias,
                float epsilon, const Tensor& out) {
  check(ctx, x, out);
  require(weight != nullptr && bias != nullptr, "layer_norm: no weight or no bias");
  if (ctx.notes != nullptr) return note_norm(ctx, x);
  const TimedOperation timed(ctx, kNormsKind);
  switch (ctx.backend) {
    case Backend::kCpu:
      return cpu::layer_norm(ctx, x, weight, bias, epsilon, out);
    case Backend::kCuda:
      return cuda::layer_norm(ctx, x, weight, bias, epsilon, out);
  }
}

}  // namespace dak
