#include "ops/attention.h"

#include <algorithm>

#include "ops/cpu/backend.h"
#include "ops/cuda/backend.h"
#include "pass/names.h"

namespace dak {

void check_attention(const AttentionConfig& config, std::span<const KvSequence> sequences,
                     int64_t m) {
  require(config.kv_heads > 0 && config.heads > 0 && config.heads % config.kv_heads == 0,
          "attention: kv_heads must divide heads");
  require(config.head_size > 0 && config.head_size % 8 == 0,
          "attention: head_size must be a multiple of 8");
  require(config.kv_dtype == DType::kF32 || config.kv_dtype == DType::kF16 ||
              config.kv_dtype == DType::kBF16,
          "attention: the cache must be f32, f16 or bf16");
  require(config.window >= 0, "attention: negative window");
  for (const KvSequence& s : sequences) {
    const bool padding = s.past == kPaddingPast && s.rows == 1 && config.table_pages > 0;
    require(
        (s.past >= 0 || padding) && s.rows >= 0 && s.first_row >= 0 && s.first_row + s.rows <= m,
        "attention: a sequence's rows are outside the batch");
    require(static_cast<int64_t>(s.pages.size()) * kPageTokens >= s.past + s.rows,
            "attention: a sequence has too few KV pages");
    require(config.table_pages == 0 || std::ssize(s.pages) <= config.table_pages,
            "attention: a sequence has more pages than its table");
  }
}

namespace {

void check_heads(const Tensor& t, int64_t heads, int64_t head_size, bool any_dtype = false) {
  require(t.rank == 3 && (any_dtype || t.dtype == DType::kF32) && t.dim(1) == heads &&
              t.dim(2) == head_size,
          "attention: tensors must be f32 [m, heads, head_size]");
}

// The tokens that any row of the sequence sees.
void count_sequence(const AttentionConfig& config, const KvSequence& s, TierTraffic& traffic) {
  if (s.rows == 0) return;
  const int64_t end = s.past + s.rows;
  const int64_t begin = config.window > 0 ? std::max<int64_t>(0, s.past + 1 - config.window) : 0;
  const int64_t token_bytes = bytes_of(config.kv_dtype, 2 * config.kv_heads * config.head_size);
  for (int64_t page = begin / kPageTokens; page * kPageTokens < end; ++page) {
    const int64_t first = std::max(begin, page * kPageTokens);
    const int64_t last = std::min(end, (page + 1) * kPageTokens);
    traffic.add_kv(s.pages[static_cast<size_t>(page)].tier, (last - first) * token_bytes);
  }
}

void note_attention(OpContext& ctx, const AttentionConfig& config, const Tensor& q) {
  ctx.notes->add({.kind = StepKind::kAttention,
                  .attention = {.query_values = config.heads * config.head_size,
                                .kv_values = 2 * config.kv_heads * config.head_size,
                                .kv_heads = config.kv_heads,
                                .window = config.window}},
                 q.dim(0));
}

}  // namespace

void count_kv_traffic(const AttentionConfig& config, std::span<const KvSequence> sequences,
                      TierTraffic& traffic) {
  for (const KvSequence& s : sequences) count_sequence(config, s, traffic);
}

void store_kv(OpContext& ctx, const AttentionConfig& config, std::span<const KvSequence> sequences,
              const Tensor& k, const Tensor& v) {
  check_heads(k, config.kv_heads, config.head_size);
  check_heads(v, config.kv_heads, config.head_size);
  require(k.dim(0) == v.dim(0), "store_kv: rows of k and v differ");
  check_attention(config, sequences, k.dim(0));
  switch (ctx.backend) {
    case Backend::kCpu:
      return cpu::store_kv(ctx, config, sequences, k, v);
    case Backend::kCuda:
      return cuda::store_kv(ctx, config, sequences, k, v);
  }
}

void announce_kv(OpContext& ctx, const AttentionConfig& config,
                 std::span<const KvSequence> sequences) {
  if (ctx.backend == Backend::kCuda) cuda::announce_kv(ctx, config, sequences);
}

void attention(OpContext& ctx, const AttentionConfig& config, std::span<const KvSequence> sequences,
               const Tensor& q, const Tensor& out) {
  check_heads(q, config.heads, config.head_size);
  check_heads(out, config.heads, config.head_size, ctx.backend == Backend::kCuda);
  require(q.dim(0) == out.dim(0), "attention: rows of q and out differ");
  check_attention(config, sequences, q.dim(0));
  if (ctx.notes != nullptr) return note_attention(ctx, config, q);
  const TimedOperation timed(ctx, kAttentionKind);
  count_kv_traffic(config, sequences, ctx.traffic);
  switch (ctx.backend) {
    case Backend::kCpu:
      return cpu::attention(ctx, config, sequences, q, out);
    case Backend::kCuda:
      return cuda::attention(ctx, config, sequences, q, out);
  }
}

}  // namespace dak
