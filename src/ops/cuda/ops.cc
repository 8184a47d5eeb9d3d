// Operations as launches: host data go up, kernels are enqueued.
#include <algorithm>
#include <vector>

#include "base/math.h"
#include "ops/cuda/backend.h"
#include "ops/cuda/kernels.h"
#include "ops/cuda/prefill_attention.h"
#include "ops/cuda/state.h"
#include "ops/cuda/step_tables.h"
#include "ops/cuda/uva_kernels.h"

namespace dak::cuda {
namespace {

static_assert(kKvPageTokens == kPageTokens);

CudaBackend& backend_of(OpContext& ctx) {
  require(ctx.cuda != nullptr, "a CUDA operation without a CUDA backend");
  ctx.cuda->enter();
  return *ctx.cuda;
}

// x as the kernel takes it.
struct MatmulInput {
  const std::byte* data;
  int64_t stride;  // elements
};

MatmulInput matmul_input(CudaBackend& backend, const Tensor& x, DType dtype) {
  const int64_t cols = x.dim(1);
  if (x.dtype == dtype && cols % 8 == 0) return {.data = x.data, .stride = cols};
  const int64_t stride = round_up(cols, 8);
  auto* narrow = static_cast<std::byte*>(backend.scratch(bytes_of(dtype, x.dim(0) * stride)));
  launch_narrow({.x = x.f32(),
                 .out = narrow,
                 .m = x.dim(0),
                 .cols = cols,
                 .out_stride = stride,
                 .dtype = element_of(dtype, "matmul")},
                backend.stream());
  return {.data = narrow, .stride = stride};
}

// By cuBLASLt, in slices of what there is room for sums. The epilogue is a kernel of its own.
void multiply_row_major(CudaBackend& backend, const Tensor& x, const TieredTensor& w,
                        const Tensor& out, const MatmulEpilogue& epilogue, bool gated) {
  UvaMatmul& uva = backend.uva();
  const MatmulInput input = matmul_input(backend, x, w.dtype);
  const int64_t m = x.dim(0);
  if (out.dtype == DType::kF32 && !gated && epilogue.bias == nullptr && !epilogue.add_to_output &&
      epilogue.activation == Activation::kNone) {
    uva.multiply(w, input.data, input.stride, m, out.f32());
    return;
  }
  const int64_t slice = uva.rows_of_sums(w.rows);
  for (int64_t row = 0; row < m; row += slice) {
    const int64_t rows = std::min(slice, m - row);
    uva.multiply(w, input.data + bytes_of(w.dtype, row * input.stride), input.stride, rows,
                 uva.sums());
    launch_uva_epilogue({.sums = uva.sums(),
                         .bias = epilogue.bias,
                         .out = out.data + bytes_of(out.dtype, row * out.dim(1)),
                         .m = rows,
                         .rows = w.rows,
                         .out_dtype = element_of(out.dtype, "matmul"),
                         .activation = epilogue.activation,
                         .gated = gated,
                         .add_to_output = epilogue.add_to_output},
                        backend.stream());
  }
}

void multiply_wide(CudaBackend& backend, const MatmulInput& x, int64_t m, const TieredTensor& w,
                   const Tensor& out, const MatmulEpilogue& epilogue, bool gated, bool waits) {
  const cudaStream_t stream = backend.stream();
  const GemmWeight& weight = backend.wide(w);
  GemmSequence& sequence = backend.gemm_sequence();
  gemm(weight,
       {.x = x.data,
        .x_stride = x.stride,
        .tokens = m,
        .out = out.data,
        .out_stride = out.dim(1),
        .out_dtype = out.dtype,
        .bias = epilogue.bias,
        .activation = epilogue.activation,
        .gated = gated,
        .residual = epilogue.add_to_output ? out.data : nullptr,
        .overlap_previous = !waits,
        .ahead = sequence.behind(weight, backend.gemm_workspace()),
        .form = {.readers = backend.gemm_readers()}},
       backend.gemm_workspace(), backend.links(), stream);
  sequence.launched(weight);
}

// The product of at most 64 rows, or with plain kernels in slices of that many: every slice then
// reads the whole weight again, remote blocks included unless they were prefetched.
void multiply_slices(CudaBackend& backend, const MatmulInput& x, int64_t m, const TieredTensor& w,
                     const Tensor& out, const MatmulEpilogue& epilogue, bool gated, bool waits) {
  const SplitWeight& weight = backend.split(w);
  const int64_t outputs = out.dim(1);
  for (int64_t row = 0; row < m; row += kMaxSplitBatch) {
    std::byte* target = out.data + bytes_of(out.dtype, row * outputs);
    const SplitMatmulArgs args{.x = x.data + bytes_of(w.dtype, row * x.stride),
                               .x_stride = x.stride,
                               .batch = std::min<int64_t>(kMaxSplitBatch, m - row),
                               .out = target,
                               .out_stride = outputs,
                               .out_dtype = out.dtype,
                               .bias = epilogue.bias,
                               .activation = epilogue.activation,
                               .gated = gated,
                               .residual = epilogue.add_to_output ? target : nullptr,
                               .overlap_previous = !waits || row > 0};
    split_matmul(weight, args, backend.workspace(), backend.links(), backend.stream());
  }
}

void multiply(OpContext& ctx, const Tensor& x, const TieredTensor& w, const Tensor& out,
              const MatmulEpilogue& epilogue, bool gated) {
  CudaBackend& backend = backend_of(ctx);
  if (w.layout == WeightLayout::kRowMajor) {
    return multiply_row_major(backend, x, w, out, epilogue, gated);
  }
  const int64_t m = x.dim(0);
  const bool wide = backend.is_wide(m);
  // Schedules first: making them may wait for the stream.
  if (wide) {
    backend.wide(w);
  } else {
    backend.split(w);
  }
  const MatmulInput input = matmul_input(backend, x, w.dtype);
  // A kernel that starts early fills its ring before the work ahead of it is done, and so before
  // that has waited for a copy.
  const bool waits = backend.prefetcher() != nullptr && backend.prefetcher()->acquire(w);
  (wide ? multiply_wide : multiply_slices)(backend, input, m, w, out, epilogue, gated, waits);
  if (backend.prefetcher() != nullptr) backend.prefetcher()->release(w);
}

// A recorded step's, whose tables are made for it.
bool in_step_tables(const AttentionConfig& config) { return config.table_pages > 0; }

// Room for a sequence in the page table.
int64_t pages_in_table(const AttentionConfig& config, const KvSequence& sequence) {
  return in_step_tables(config) ? config.table_pages : std::ssize(sequence.pages);
}

std::byte* const* upload_pages(CudaBackend& backend, const AttentionConfig& config,
                               std::span<const KvSequence> sequences, CudaBackend::Slot slot) {
  std::vector<std::byte*> table;
  for (const KvSequence& s : sequences) {
    for (const KvPage& page : s.pages) table.push_back(page.data);
  }
  return backend.upload(slot, std::span<std::byte* const>(table), config.layer);
}

// For a layer of recorded steps, on the host. What such a step has to copy of the layer's remote
// pages before, in mode prefetch.
std::vector<CopyRange> tell_step(CudaBackend& backend, const AttentionConfig& config,
                                 std::span<const KvSequence> sequences,
                                 std::span<const int64_t> versions) {
  std::optional<StagedKv> staged;
  if (backend.prefetcher() != nullptr) staged = backend.prefetcher()->staged(config, sequences);
  backend.reserve_step_tables(
      {.rows = std::ssize(sequences), .layers = config.layers, .pages = config.table_pages});
  backend.step_tables().set(config.layer, sequences,
                            staged ? staged->sequences : std::span<const KvSequence>(), versions,
                            takes_ring(config.heads, config.kv_heads));
  return staged ? std::move(staged->ranges) : std::vector<CopyRange>();
}

// Neighbouring rows of a batch that one launch of paged attention takes.
struct RowSlice {
  int64_t first;
  int64_t rows;
  bool cut;                           // into runs, kv_layout.h
  std::vector<KvSequence> sequences;  // rows counted from the slice's first
};

int64_t runs_in_table(const AttentionConfig& config, const KvSequence& sequence) {
  return kv_runs_for(pages_in_table(config, sequence));
}

// What prefill's tiles leave. Whether a sequence is cut into runs follows from its own rows; only
// how many share a launch, and so its memory, from the others.
std::vector<RowSlice> slices_of(const AttentionConfig& config,
                                std::span<const KvSequence> sequences) {
  std::vector<RowSlice> slices;
  int64_t most_runs = 0;  // of a sequence of the last slice
  const auto fits = [&](const KvSequence& s) {
    if (slices.empty() || !slices.back().cut) return false;
    const RowSlice& last = slices.back();
    if (s.first_row != last.first + last.rows || last.rows + s.rows >= kMostRunRows) return false;
    if (s.rows == 1 && last.rows == std::ssize(last.sequences)) return true;  // decode
    const int64_t rows = last.rows + s.rows;
    return rows <= kMostCutRows &&
           rows * std::max(most_runs, runs_in_table(config, s)) <= kMostCutRuns;
  };
  for (const KvSequence& s : sequences) {
    if (s.rows == 0 || takes_prefill_tiles(config, s)) continue;
    const bool cut = s.rows < kPrefillLeastRows && runs_in_table(config, s) < kMostRunRows;
    if (!cut) {
      slices.push_back({.first = s.first_row, .rows = s.rows, .cut = false, .sequences = {s}});
      slices.back().sequences[0].first_row = 0;
      continue;
    }
    const int64_t at_once = std::clamp<int64_t>(kMostCutRuns / runs_in_table(config, s), 1, s.rows);
    for (int64_t row = 0; row < s.rows; row += at_once) {
      KvSequence part = s;
      part.past += row;
      part.first_row += row;
      part.rows = std::min(at_once, s.rows - row);
      if (!fits(part)) {
        slices.push_back({.first = part.first_row, .rows = 0, .cut = true, .sequences = {}});
        most_runs = 0;
      }
      RowSlice& slice = slices.back();
      most_runs = std::max(most_runs, runs_in_table(config, s));
      slice.rows += part.rows;
      part.first_row -= slice.first;
      slice.sequences.push_back(part);
    }
  }
  return slices;
}

// AttentionParams::runs.
const uint64_t* upload_runs(CudaBackend& backend, const AttentionConfig& config,
                            std::span<const KvSequence> sequences) {
  const bool ring = takes_ring(config.heads, config.kv_heads);
  std::vector<std::vector<TierRun>> rows;
  size_t length = kMaxTiers;
  for (const KvSequence& s : sequences) {
    for (int64_t row = s.first_row; row < s.first_row + s.rows; ++row) {
      rows.push_back(runs_of_row(s.pages, row, ring));
      length += rows.back().size();
    }
  }
  std::vector<uint64_t> list(length);
  list_runs(rows, list);
  return backend.upload(CudaBackend::kKvRuns, std::span<const uint64_t>(list), config.layer);
}

const KvRow* upload_rows(CudaBackend& backend, const AttentionConfig& config,
                         std::span<const KvSequence> sequences, int64_t m) {
  std::vector<KvRow> rows(static_cast<size_t>(m), KvRow{.first_page = 0, .token = -1, .fresh = 0});
  int64_t first_page = 0;
  for (const KvSequence& s : sequences) {
    if (in_step_tables(config)) first_page = s.first_row * config.layers * config.table_pages;
    for (int64_t i = 0; i < s.rows; ++i) {
      rows[static_cast<size_t>(s.first_row + i)] = {.first_page = static_cast<int32_t>(first_page),
                                                    .token = static_cast<int32_t>(s.past + i),
                                                    .fresh = static_cast<int32_t>(s.past)};
    }
    first_page += std::ssize(s.pages);
  }
  return backend.upload(CudaBackend::kKvRows, std::span<const KvRow>(rows));
}

// Where the kernels find a layer's pages. `seen`: as attention sees them, in mode prefetch.
std::byte* const* page_table(CudaBackend& backend, const AttentionConfig& config,
                             std::span<const KvSequence> sequences, bool seen) {
  if (!in_step_tables(config)) {
    return upload_pages(backend, config, sequences,
                        seen ? CudaBackend::kSeenPages : CudaBackend::kKvPages);
  }
  if (!backend.recording() && !seen) {
    tell_step(backend, config, sequences, {});
    backend.send_step_tables();
  }
  return backend.step_pages(seen ? StepTables::kSeen : StepTables::kLie, config.layer);
}

KvParams kv_params(CudaBackend& backend, const AttentionConfig& config,
                   std::span<const KvSequence> sequences, int64_t m, bool seen = false) {
  return {.pages = page_table(backend, config, sequences, seen),
          .rows = upload_rows(backend, config, sequences, m),
          .m = m,
          .heads = config.heads,
          .kv_heads = config.kv_heads,
          .head_size = config.head_size,
          .window = config.window,
          .scale = config.scale,
          .kv_dtype = element_of(config.kv_dtype, "attention")};
}

// Places for what rows of up to `pages` pages leave of their runs.
void set_pieces(CudaBackend& backend, const AttentionConfig& config, int64_t pages,
                AttentionParams& params) {
  if (!takes_ring(config.heads, config.kv_heads)) {
    const AttentionPieces need =
        attention_pieces(config.heads, config.kv_heads, config.head_size, params.kv.m, pages);
    const CudaBackend::Pieces pieces = backend.pieces(need.value_bytes, need.counters);
    params.piece_room = static_cast<int32_t>(need.runs);
    params.pieces = pieces.values;
    params.arrivals = pieces.arrivals;
    return;
  }
  const RingPieces need =
      ring_pieces(config.heads, config.kv_heads, config.head_size, params.kv.m, pages);
  const CudaBackend::Pieces pieces = backend.pieces(need.value_bytes(), need.counters());
  params.run_room = static_cast<int32_t>(need.runs);
  params.group_room = static_cast<int32_t>(need.groups);
  params.pieces = pieces.values;
  params.arrivals = pieces.arrivals;
  params.part_pieces = pieces.values + need.run_floats;
  params.part_arrivals = pieces.arrivals + need.run_counters;
}

// `params` is of the whole batch.
void attend_slice(CudaBackend& backend, const AttentionConfig& config, const RowSlice& slice,
                  AttentionParams params) {
  const int64_t values = slice.first * config.heads * config.head_size;
  params.kv.rows += slice.first;
  params.kv.m = slice.rows;
  params.q += values;
  params.out = static_cast<std::byte*>(params.out) + bytes_of(params.out_dtype, values);
  if (slice.cut) {
    params.runs = in_step_tables(config) ? backend.step_runs(config.layer)
                                         : upload_runs(backend, config, slice.sequences);
    for (size_t tier = 1; tier < kMaxTiers; ++tier) params.readers[tier] = backend.readers()[tier];
    int64_t most = 0;
    for (const KvSequence& s : slice.sequences) most = std::max(most, pages_in_table(config, s));
    set_pieces(backend, config, most, params);
  }
  const bool ring = takes_ring(config.heads, config.kv_heads);
  (ring ? launch_ring_attention : launch_paged_attention)(params, backend.sm_count(),
                                                          backend.stream());
}

void look_up(OpContext& ctx, std::span<const int32_t> ids, CudaBackend::Slot slot,
             const TieredTensor& table, int32_t offset, const Tensor& out, bool add) {
  CudaBackend& backend = backend_of(ctx);
  if (table.layout == WeightLayout::kRowMajor) {  // tied to the lm_head
    launch_row_major_embedding({.ids = backend.upload(slot, ids),
                                .table = table.blocks[0].data,
                                .out = out.f32(),
                                .m = std::ssize(ids),
                                .cols = table.cols,
                                .offset = offset,
                                .dtype = element_of(table.dtype, "embedding"),
                                .add = add},
                               backend.stream());
    return;
  }
  launch_embedding({.ids = backend.upload(slot, ids),
                    .blocks = backend.block_table(table),
                    .out = out.f32(),
                    .m = std::ssize(ids),
                    .cols = table.cols,
                    .offset = offset,
                    .dtype = element_of(table.dtype, "embedding"),
                    .add = add},
                   backend.stream());
}

// Tiles of query heads, shared out evenly over as few passes as there can be.
void set_tiles(const AttentionConfig& config, AttentionParams& params) {
  const int64_t group = config.heads / config.kv_heads;
  const int64_t tiles = ceil_div(group, kTileHeads);
  const bool ring = takes_ring(config.heads, config.kv_heads);
  const int64_t most = ring ? most_pass_tiles(config.head_size) : tiles;
  const int64_t passes = ceil_div(tiles, most);
  params.group_tiles = static_cast<int32_t>(tiles);
  params.passes = static_cast<int32_t>(passes);
  params.tiles = static_cast<int32_t>(ceil_div(tiles, passes));
  params.tile_heads = static_cast<int32_t>(std::min<int64_t>(group, kTileHeads));
}

void check_head_size(const AttentionConfig& config) {
  if (config.head_size <= kMaxHeadSize) return;
  throw_unsupported("attention", "head_size", std::to_string(config.head_size),
                    fmt::format("is above {}, the CUDA backend's most", kMaxHeadSize),
                    "use --device cpu");
}

void norm(OpContext& ctx, const Tensor& x, const float* weight, const float* bias, float epsilon,
          const Tensor& out) {
  CudaBackend& backend = backend_of(ctx);
  const int64_t cols = x.dim(x.rank - 1);
  const NormParams params{.x = x.f32(),
                          .weight = weight,
                          .bias = bias,
                          .out = out.data,
                          .rows = x.elements() / cols,
                          .cols = cols,
                          .epsilon = epsilon,
                          .out_dtype = element_of(out.dtype, "norm")};
  launch_norm(params, backend.stream());
}

}  // namespace

int64_t readings(const OpContext& ctx, const TieredTensor& weight, TierIndex tier, int64_t rows) {
  if (weight.layout == WeightLayout::kRowMajor) return 1;
  if (ctx.cuda->is_wide(rows)) return 1;
  if (tier > 0 && ctx.cuda->prefetcher() != nullptr) return 1;
  return ceil_div(rows, kMaxSplitBatch);
}

void matmul(OpContext& ctx, const Tensor& x, const TieredTensor& w, const Tensor& out,
            const MatmulEpilogue& epilogue) {
  multiply(ctx, x, w, out, epilogue, /*gated=*/false);
}

void matmul_gated(OpContext& ctx, const Tensor& x, const TieredTensor& gate_up, const Tensor& out,
                  Activation activation) {
  multiply(ctx, x, gate_up, out, {.activation = activation}, /*gated=*/true);
}

void embedding(OpContext& ctx, std::span<const int32_t> ids, const TieredTensor& table,
               const Tensor& out) {
  look_up(ctx, ids, CudaBackend::kIds, table, 0, out, /*add=*/false);
}

void add_positions(OpContext& ctx, std::span<const int32_t> positions, const TieredTensor& table,
                   int32_t offset, const Tensor& out) {
  look_up(ctx, positions, CudaBackend::kPositions, table, offset, out, /*add=*/true);
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
  const GatherRowsParams params{.x = x.f32(),
                                .rows = backend.upload(CudaBackend::kRows, rows),
                                .out = out.f32(),
                                .m = out.dim(0),
                                .cols = out.dim(1)};
  launch_gather_rows(params, backend.stream());
}

void store_kv(OpContext& ctx, const AttentionConfig& config, std::span<const KvSequence> sequences,
              const Tensor& k, const Tensor& v) {
  CudaBackend& backend = backend_of(ctx);
  launch_store_kv(
      {.kv = kv_params(backend, config, sequences, k.dim(0)), .k = k.f32(), .v = v.f32()},
      backend.stream());
}

void split_heads(OpContext& ctx, const AttentionConfig& config,
                 std::span<const KvSequence> sequences, std::span<const int32_t> positions,
                 const HeadTransform& transform, const Tensor& qkv, const Tensor& q) {
  CudaBackend& backend = backend_of(ctx);
  check_head_size(config);
  static const RopeFrequencies kNone;
  const RopeFrequencies& frequencies =
      transform.frequencies != nullptr ? *transform.frequencies : kNone;
  const SplitHeadsParams params{
      .kv = kv_params(backend, config, sequences, qkv.dim(0)),
      .qkv = qkv.f32(),
      .positions = backend.upload(CudaBackend::kPositions, positions),
      .inverse =
          backend.upload(CudaBackend::kFrequencies, std::span<const float>(frequencies.inverse)),
      .q_norm = transform.q_norm,
      .k_norm = transform.k_norm,
      .q = q.f32(),
      .half = static_cast<int64_t>(frequencies.inverse.size()),
      .magnitude = frequencies.magnitude,
      .epsilon = transform.norm_epsilon};
  launch_split_heads(params, backend.stream());
}

void announce_kv(OpContext& ctx, const AttentionConfig& config,
                 std::span<const KvSequence> sequences) {
  Prefetcher* prefetcher = backend_of(ctx).prefetcher();
  if (prefetcher == nullptr) return;
  std::optional<StagedKv> staged = prefetcher->staged(config, sequences);
  if (staged) {
    prefetcher->announce_kv(config.layer, std::move(staged->ranges), sequences.size());
  }
}

namespace {

void attend(CudaBackend& backend, const AttentionConfig& config,
            std::span<const KvSequence> sequences, bool seen, bool waits, const Tensor& q,
            const Tensor& out) {
  AttentionParams params{.kv = kv_params(backend, config, sequences, q.dim(0), seen),
                         .q = q.f32(),
                         .out = out.data,
                         .out_dtype = element_of(out.dtype, "attention"),
                         .group_tiles = 0,
                         .tiles = 0,
                         .passes = 0,
                         .tile_heads = 0,
                         .runs = nullptr,
                         .piece_room = 0,
                         .run_room = 0,
                         .group_room = 0,
                         .pieces = nullptr,
                         .arrivals = nullptr,
                         .part_pieces = nullptr,
                         .part_arrivals = nullptr,
                         .links = backend.links().device_states(),
                         .readers = {},
                         .overlap_previous = !waits,
                         .ahead = backend.gemm_sequence().next(backend.gemm_workspace())};
  if (backend.kernels() == KernelKind::kPlain ||
      !on_tensor_cores(params.kv.kv_dtype, config.head_size)) {
    return launch_attention(params, backend.stream());
  }
  set_tiles(config, params);
  if (has_prefill_tiles(config.head_size)) {
    attend_prefill_tiles(backend, config, sequences, params.kv, waits, q, out);
  }
  for (const RowSlice& slice : slices_of(config, sequences)) {
    attend_slice(backend, config, slice, params);
  }
}

}  // namespace

void attention(OpContext& ctx, const AttentionConfig& config, std::span<const KvSequence> sequences,
               const Tensor& q, const Tensor& out) {
  CudaBackend& backend = backend_of(ctx);
  check_head_size(config);
  Prefetcher* prefetcher = backend.prefetcher();
  const std::optional<StagedKv> staged =
      prefetcher != nullptr ? prefetcher->staged(config, sequences) : std::nullopt;
  if (!staged) {
    return attend(backend, config, sequences, /*seen=*/false, /*waits=*/false, q, out);
  }
  const bool waits = prefetcher->acquire_kv(config.layer);
  attend(backend, config, staged->sequences, /*seen=*/true, waits, q, out);
  prefetcher->release_kv(config.layer);
}

void set_inputs(OpContext& ctx, std::span<const int32_t> tokens, std::span<const int32_t> positions,
                const AttentionConfig& config, std::span<const KvSequence> sequences) {
  CudaBackend& backend = backend_of(ctx);
  backend.upload(CudaBackend::kIds, tokens);
  backend.upload(CudaBackend::kPositions, positions);
  upload_rows(backend, config, sequences, std::ssize(tokens));
}

std::vector<CopyRange> tell_kv_pages(OpContext& ctx, const AttentionConfig& config,
                                     std::span<const KvSequence> sequences,
                                     std::span<const int64_t> versions) {
  return tell_step(backend_of(ctx), config, sequences, versions);
}

const float* host_values(OpContext& ctx, const Tensor& x) {
  return backend_of(ctx).download(x.f32(), x.elements());
}

}  // namespace dak::cuda
