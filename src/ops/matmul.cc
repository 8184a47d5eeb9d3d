#include "ops/matmul.h"

#include "ops/cpu/backend.h"

namespace dak {
namespace {

void check(const Tensor& x, const TieredTensor& w, const Tensor& out, int64_t out_cols) {
  require(x.rank == 2 && x.dtype == DType::kF32, "matmul: x must be f32 [m, k]");
  require(out.rank == 2 && out.dtype == DType::kF32, "matmul: out must be f32 [m, n]");
  require(w.dtype == DType::kF32 || w.dtype == DType::kF16 || w.dtype == DType::kBF16,
          "matmul: the weight must be f32, f16 or bf16");
  require(x.dim(1) == w.cols, "matmul: columns of x and of the weight differ");
  require(out.dim(0) == x.dim(0), "matmul: rows of x and of out differ");
  require(out.dim(1) == out_cols, "matmul: columns of out and rows of the weight differ");
  require(static_cast<int64_t>(w.blocks.size()) == row_blocks_of(w.rows),
          "matmul: the weight lacks row blocks");
}

// Every row block is read once per call, padding included, however many rows x has.
void count_traffic(OpContext& ctx, const TieredTensor& w) {
  for (const RowBlock& block : w.blocks) ctx.traffic.add(block.tier, w.block_bytes());
}

}  // namespace

void matmul(OpContext& ctx, const Tensor& x, const TieredTensor& w, const Tensor& out,
            const MatmulEpilogue& epilogue) {
  check(x, w, out, w.rows);
  if (x.dim(0) == 0) return;
  count_traffic(ctx, w);
  switch (ctx.backend) {
    case Backend::kCpu:
      return cpu::matmul(ctx, x, w, out, epilogue);
  }
}

void matmul_gated(OpContext& ctx, const Tensor& x, const TieredTensor& gate_up, const Tensor& out,
                  Activation activation) {
  require(gate_up.rows % (2 * kCoreSide) == 0,
          "matmul_gated: rows must alternate 8 of gate with 8 of up");
  check(x, gate_up, out, gate_up.rows / 2);
  if (x.dim(0) == 0) return;
  count_traffic(ctx, gate_up);
  switch (ctx.backend) {
    case Backend::kCpu:
      return cpu::matmul_gated(ctx, x, gate_up, out, activation);
  }
}

}  // namespace dak
