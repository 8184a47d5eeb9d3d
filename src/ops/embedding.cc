#include "ops/embedding.h"

#include "ops/cpu/backend.h"
#include "ops/cuda/backend.h"

namespace dak {

namespace {

void check(std::span<const int32_t> ids, const TieredTensor& table, const Tensor& out) {
  require(out.rank == 2 && out.dtype == DType::kF32 &&
              out.dim(0) == static_cast<int64_t>(ids.size()) && out.dim(1) == table.cols,
          "embedding: out must be f32 [ids, cols]");
  require(table.dtype == DType::kF32 || table.dtype == DType::kF16 || table.dtype == DType::kBF16,
          "embedding: the table must be f32, f16 or bf16");
}

void count_lookup(OpContext& ctx, std::span<const int32_t> ids, const TieredTensor& table,
                  int32_t offset) {
  require(static_cast<int64_t>(table.blocks.size()) == row_blocks_of(table.rows),
          "embedding: the table lacks row blocks");
  for (const int32_t id : ids) {
    const int64_t row = int64_t{id} + offset;
    require(row >= 0 && row < table.rows, "embedding: id out of range");
    ctx.traffic.add(table.blocks[static_cast<size_t>(row / kRowBlockRows)].tier,
                    bytes_of(table.dtype, table.cols));
  }
}

void note_lookup(OpContext& ctx, const TieredTensor& table, const Tensor& out) {
  ctx.notes->add({.kind = StepKind::kLookup, .matrix = {table.id}}, out.dim(0));
}

}  // namespace

void embedding(OpContext& ctx, std::span<const int32_t> ids, const TieredTensor& table,
               const Tensor& out) {
  check(ids, table, out);
  if (ctx.notes != nullptr) return note_lookup(ctx, table, out);
  count_lookup(ctx, ids, table, 0);
  const TimedOperation timed(ctx, table.kind);
  switch (ctx.backend) {
    case Backend::kCpu:
      return cpu::embedding(ctx, ids, table, out, 0, /*add=*/false);
    case Backend::kCuda:
      return cuda::embedding(ctx, ids, table, out);
  }
}

void add_positions(OpContext& ctx, std::span<const int32_t> positions, const TieredTensor& table,
                   int32_t offset, const Tensor& out) {
  check(positions, table, out);
  if (ctx.notes != nullptr) return note_lookup(ctx, table, out);
  count_lookup(ctx, positions, table, offset);
  const TimedOperation timed(ctx, table.kind);
  switch (ctx.backend) {
    case Backend::kCpu:
      return cpu::embedding(ctx, positions, table, out, offset, /*add=*/true);
    case Backend::kCuda:
      return cuda::add_positions(ctx, positions, table, offset, out);
  }
}

}  // namespace dak
