#include "ops/matmul.h"

#include "base/half.h"
#include "ops/cpu/backend.h"
#include "ops/cuda/backend.h"

namespace dak {
namespace {

void check(const OpContext& ctx, const Tensor& x, const TieredTensor& w, const Tensor& out,
           int64_t out_cols) {
  const auto allowed = [&](DType dtype) {
    return dtype == DType::kF32 || (ctx.backend == Backend::kCuda && dtype == w.dtype);
  };
  require(x.rank == 2 && allowed(x.dtype), "matmul: x must be [m, k] of f32 or the weight's type");
  require(out.rank == 2 && allowed(out.dtype),
          "matmul: out must be [m, n] of f32 or the weight's type");
  require(w.dtype == DType::kF32 || w.dtype == DType::kF16 || w.dtype == DType::kBF16,
          "matmul: the weight must be f32, f16 or bf16");
  require(x.dim(1) == w.cols, "matmul: columns of x and of the weight differ");
  require(out.dim(0) == x.dim(0), "matmul: rows of x and of out differ");
  require(out.dim(1) == out_cols, "matmul: columns of out and rows of the weight differ");
  require(ctx.notes != nullptr || static_cast<int64_t>(w.blocks.size()) == row_blocks_of(w.rows),
          "matmul: the weight lacks row blocks");
}

void note_product(OpContext& ctx, const Tensor& x, const TieredTensor& w) {
  ctx.notes->add({.kind = StepKind::kProduct, .matrix = {w.id}}, x.dim(0));
}

// On the CPU every row block is read once per call, padding included, however many rows x has.
void count_traffic(OpContext& ctx, const Tensor& x, const TieredTensor& w) {
  for (size_t i = 0; i < w.blocks.size(); ++i) {
    const TierIndex tier = w.blocks[i].tier;
    const int64_t readings =
        ctx.backend == Backend::kCuda ? cuda::readings(ctx, w, tier, x.dim(0)) : 1;
    ctx.traffic.add(tier, readings * w.bytes_in_block(static_cast<int64_t>(i)));
  }
}

// x, or a copy of it in the weight's precision if the context asks for one.
Tensor cpu_input(OpContext& ctx, const Tensor& x, DType dtype) {
  if (!ctx.round_matmul_inputs || dtype == DType::kF32) return x;
  Tensor copy = x;
  float* values = ctx.scratch(cpu::kRoundedSlot, x.elements());
  copy.data = reinterpret_cast<std::byte*>(values);
  const float* from = x.f32();
  for (int64_t i = 0; i < x.elements(); ++i) {
    values[i] = half_to_f32(dtype, f32_to_half(dtype, from[i]));
  }
  return copy;
}

}  // namespace

void matmul(OpContext& ctx, const Tensor& x, const TieredTensor& w, const Tensor& out,
            const MatmulEpilogue& epilogue) {
  check(ctx, x, w, out, w.rows);
  if (x.dim(0) == 0) return;
  if (ctx.notes != nullptr) return note_product(ctx, x, w);
  const TimedOperation timed(ctx, w.kind);
  count_traffic(ctx, x, w);
  switch (ctx.backend) {
    case Backend::kCpu:
      return cpu::matmul(ctx, cpu_input(ctx, x, w.dtype), w, out, epilogue);
    case Backend::kCuda:
      return cuda::matmul(ctx, x, w, out, epilogue);
  }
}

void matmul_gated(OpContext& ctx, const Tensor& x, const TieredTensor& gate_up, const Tensor& out,
                  Activation activation) {
  require(gate_up.rows % (2 * kCoreSide) == 0,
          "matmul_gated: rows must alternate 8 of gate with 8 of up");
  check(ctx, x, gate_up, out, gate_up.rows / 2);
  if (x.dim(0) == 0) return;
  if (ctx.notes != nullptr) return note_product(ctx, x, gate_up);
  const TimedOperation timed(ctx, gate_up.kind);
  count_traffic(ctx, x, gate_up);
  switch (ctx.backend) {
    case Backend::kCpu:
      return cpu::matmul_gated(ctx, cpu_input(ctx, x, gate_up.dtype), gate_up, out, activation);
    case Backend::kCuda:
      return cuda::matmul_gated(ctx, x, gate_up, out, activation);
  }
}

}  // namespace dak
