// Operations as launches: host data go up, kernels are enqueued.
#include <algorithm>
#include <vector>

#include "ops/cuda/backend.h"
#include "ops/cuda/kernels.h"
#include "ops/cuda/state.h"

namespace dak::cuda {
namespace {

static_assert(kKvPageTokens == kPageTokens);

CudaBackend& backend_of(OpContext& ctx) {
  require(ctx.cuda != nullptr, "a CUDA operation without a CUDA backend");
  ctx.cuda->enter();
  return *ctx.cuda;
}

// x in the weight's type, then the product in slices of what the kernel takes at a time. Every
// slice reads the whole weight again, remote blocks included: fit for decode, poor for prefill.
static_assert(kRowsPerReading == kMaxSplitBatch, "what matmul counts is what the kernel does");

void multiply(OpContext& ctx, const Tensor& x, const TieredTensor& w, const Tensor& out,
              const MatmulEpilogue& epilogue, bool gated) {
  CudaBackend& backend = backend_of(ctx);
  const SplitWeight& weight = backend.split(w);
  const int64_t m = x.dim(0);
  const int64_t stride = (w.cols + 7) / 8 * 8;
  auto* narrow = static_cast<std::byte*>(backend.scratch(bytes_of(w.dtype, m * stride)));
  launch_narrow(
      {.x = x.f32(), .out = narrow, .m = m, .cols = w.cols, .out_stride = stride, .dtype = w.dtype},
      backend.stream());
  const int64_t outputs = out.dim(1);
  for (int64_t row = 0; row < m; row += kMaxSplitBatch) {
    float* target = out.f32() + row * outputs;
    split_matmul(weight,
                 {.x = narrow + bytes_of(w.dtype, row * stride),
                  .x_stride = stride,
                  .batch = std::min<int64_t>(kMaxSplitBatch, m - row),
                  .out = target,
                  .out_stride = outputs,
                  .bias = epilogue.bias,
                  .activation = epilogue.activation,
                  .gated = gated,
                  .residual = epilogue.add_to_output ? target : nullptr},
                 backend.workspace(), backend.links(), backend.stream());
  }
}

// Pages and rows in one upload: [pages], then [m rows].
KvParams kv_params(CudaBackend& backend, const AttentionConfig& config,
                   std::span<const KvSequence> sequences, int64_t m) {
  std::vector<std::byte*> pages;
  std::vector<KvRow> rows(static_cast<size_t>(m), KvRow{.first_page = 0, .token = -1});
  for (const KvSequence& s : sequences) {
    const auto first_page = static_cast<int32_t>(pages.size());
    const auto used = static_cast<size_t>((s.past + s.rows + kPageTokens - 1) / kPageTokens);
    for (const KvPage& page : s.pages.first(used)) pages.push_back(page.data);
    for (int64_t i = 0; i < s.rows; ++i) {
      rows[static_cast<size_t>(s.first_row + i)] = {.first_page = first_page,
                                                    .token = static_cast<int32_t>(s.past + i)};
    }
  }
  std::vector<std::byte> blob(pages.size() * sizeof(std::byte*) + rows.size() * sizeof(KvRow));
  const size_t page_bytes = pages.size() * sizeof(std::byte*);
  std::ranges::copy(std::as_bytes(std::span(pages)), blob.begin());
  std::ranges::copy(std::as_bytes(std::span(rows)),
                    blob.begin() + static_cast<std::ptrdiff_t>(page_bytes));
  const std::byte* device = backend.upload(CudaBackend::kKv, std::span<const std::byte>(blob));
  return {.pages = reinterpret_cast<std::byte* const*>(device),
          .rows = reinterpret_cast<const KvRow*>(device + page_bytes),
          .m = m,
          .heads = config.heads,
          .kv_heads = config.kv_heads,
          .head_size = config.head_size,
          .window = config.window,
          .scale = config.scale,
          .kv_dtype = config.kv_dtype};
}

void norm(OpContext& ctx, const Tensor& x, const float* weight, const float* bias, float epsilon,
          const Tensor& out) {
  const int64_t cols = x.dim(x.rank - 1);
  launch_norm({.x = x.f32(),
               .weight = weight,
               .bias = bias,
               .out = out.f32(),
               .rows = x.elements() / cols,
               .cols = cols,
               .epsilon = epsilon},
              backend_of(ctx).stream());
}

}  // namespace

void matmul(OpContext& ctx, const Tensor& x, const TieredTensor& w, const Tensor& out,
            const MatmulEpilogue& epilogue) {
  multiply(ctx, x, w, out, epilogue, /*gated=*/false);
}

void matmul_gated(OpContext& ctx, const Tensor& x, const TieredTensor& gate_up, const Tensor& out,
                  Activation activation) {
  multiply(ctx, x, gate_up, out, {.activation = activation}, /*gated=*/true);
}

void embedding(OpContext& ctx, std::span<const int32_t> ids, const TieredTensor& table,
               const Tensor& out, int32_t offset, bool add) {
  CudaBackend& backend = backend_of(ctx);
  std::vector<TableRow> rows;
  rows.reserve(ids.size());
  for (const int32_t id : ids) {
    const int64_t row = int64_t{id} + offset;
    rows.push_back({.block = table.blocks[static_cast<size_t>(row / kRowBlockRows)].data,
                    .row = row % kRowBlockRows});
  }
  launch_embedding({.rows = backend.upload(CudaBackend::kIds, std::span<const TableRow>(rows)),
                    .out = out.f32(),
                    .m = static_cast<int64_t>(ids.size()),
                    .cols = table.cols,
                    .dtype = table.dtype,
                    .add = add},
                   backend.stream());
}

void rms_norm(OpContext& ctx, const Tensor& x, const float* weight, float epsilon,
              const Tensor& out) {
  norm(ctx, x, weight, nullptr, epsilon, out);
}

void layer_norm(OpContext& ctx, const Tensor& x, const float* weight, const float* bias,
                float epsilon, const Tensor& out) {
  norm(ctx, x, weight, bias, epsilon, out);
}

void rope(OpContext& ctx, std::span<const int32_t> positions, const RopeFrequencies& frequencies,
          const Tensor& x) {
  if (frequencies.inverse.empty() || positions.empty()) return;
  CudaBackend& backend = backend_of(ctx);
  launch_rope({.positions = backend.upload(CudaBackend::kPositions, positions),
               .inverse = backend.upload(CudaBackend::kFrequencies,
                                         std::span<const float>(frequencies.inverse)),
               .x = x.f32(),
               .m = x.dim(0),
               .heads = x.dim(1),
               .head_size = x.dim(2),
               .half = static_cast<int64_t>(frequencies.inverse.size()),
               .magnitude = frequencies.magnitude},
              backend.stream());
}

void split_columns(OpContext& ctx, const Tensor& x, std::span<const Tensor> parts) {
  require(parts.size() <= kMaxColumnParts, "split_columns: more parts than the kernel takes");
  if (x.dim(0) == 0) return;
  SplitColumnsParams params{
      .x = x.f32(), .parts = {}, .part_end = {}, .m = x.dim(0), .columns = x.dim(1)};
  params.part_end.fill(x.dim(1));
  int64_t end = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    end += parts[i].as_matrix().dim(1);
    params.parts[i] = parts[i].f32();
    params.part_end[i] = end;
  }
  launch_split_columns(params, backend_of(ctx).stream());
}

void gather_rows(OpContext& ctx, const Tensor& x, std::span<const int32_t> rows,
                 const Tensor& out) {
  CudaBackend& backend = backend_of(ctx);
  launch_gather_rows({.x = x.f32(),
                      .rows = backend.upload(CudaBackend::kRows, rows),
                      .out = out.f32(),
                      .m = out.dim(0),
                      .cols = out.dim(1)},
                     backend.stream());
}

void store_kv(OpContext& ctx, const AttentionConfig& config, std::span<const KvSequence> sequences,
              const Tensor& k, const Tensor& v) {
  CudaBackend& backend = backend_of(ctx);
  launch_store_kv(
      {.kv = kv_params(backend, config, sequences, k.dim(0)), .k = k.f32(), .v = v.f32()},
      backend.stream());
}

void attention(OpContext& ctx, const AttentionConfig& config, std::span<const KvSequence> sequences,
               const Tensor& q, const Tensor& out) {
  CudaBackend& backend = backend_of(ctx);
  if (config.head_size > kMaxHeadSize) {
    throw_unsupported("attention", "head_size", std::to_string(config.head_size),
                      fmt::format("is above {}, the CUDA backend's most", kMaxHeadSize),
                      "use --device cpu");
  }
  launch_attention(
      {.kv = kv_params(backend, config, sequences, q.dim(0)), .q = q.f32(), .out = out.f32()},
      backend.stream());
}

const float* host_values(OpContext& ctx, const Tensor& x) {
  return backend_of(ctx).download(x.f32(), x.elements());
}

}  // namespace dak::cuda
