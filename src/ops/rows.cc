#include "ops/rows.h"

#include <algorithm>

#include "ops/cuda/backend.h"
#include "pass/names.h"

namespace dak {

void split_columns(OpContext& ctx, const Tensor& x, std::span<const Tensor> parts) {
  int64_t columns = 0;
  for (const Tensor& part : parts) {
    require(part.dim(0) == x.dim(0), "split_columns: rows differ");
    columns += part.elements() / std::max<int64_t>(1, part.dim(0));
  }
  require(columns == x.dim(1), "split_columns: widths do not add up");
  if (ctx.backend == Backend::kCuda) return cuda::split_columns(ctx, x, parts);
  ctx.pool->parallel_for(x.dim(0), 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      const float* from = x.row(row).data();
      for (const Tensor& part : parts) {
        const Tensor matrix = part.as_matrix();
        std::copy_n(from, matrix.dim(1), matrix.row(row).data());
        from += matrix.dim(1);
      }
    }
  });
}

void gather_rows(OpContext& ctx, const Tensor& x, std::span<const int32_t> rows,
                 const Tensor& out) {
  require(x.dim(1) == out.dim(1) && out.dim(0) == static_cast<int64_t>(rows.size()),
          "gather_rows: shapes differ");
  if (ctx.notes != nullptr) return ctx.notes->add({.kind = StepKind::kGather}, out.dim(0));
  const TimedOperation timed(ctx, kPassKind);
  for (const int32_t row : rows) {
    require(row >= 0 && row < x.dim(0), "gather_rows: row outside x");
  }
  if (ctx.backend == Backend::kCuda) return cuda::gather_rows(ctx, x, rows, out);
  for (size_t i = 0; i < rows.size(); ++i) {
    std::ranges::copy(x.row(rows[i]), out.row(static_cast<int64_t>(i)).data());
  }
}

std::span<const float> host_values(OpContext& ctx, const Tensor& x) {
  const TimedOperation timed(ctx, kPassKind);
  const float* values =
      ctx.backend == Backend::kCuda && x.elements() > 0 ? cuda::host_values(ctx, x) : x.f32();
  return {values, static_cast<size_t>(x.elements())};
}

}  // namespace dak
