// Causal attention over a paged KV cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/math.h"
#include "base/tensor.h"
#include "memory/tier.h"
#include "ops/context.h"

namespace dak {

// A page holds kPageTokens consecutive tokens of one sequence in one layer:
//   [2 (keys, values)][kv_heads][kPageTokens][head_size], of the cache's dtype.
// Each page has an address and a tier of its own.
inline constexpr int64_t kPageTokens = 64;
constexpr int64_t kv_pages_for(int64_t tokens) { return ceil_div(tokens, kPageTokens); }

struct KvPage {
  std::byte* data = nullptr;
  TierIndex tier = 0;
};

// One sequence's part of a batch, in one layer.
struct KvSequence {
  std::span<const KvPage> pages;  // enough for `past + rows` tokens
  int64_t past = 0;               // tokens already in the cache; kPaddingPast: see there
  int64_t first_row = 0;          // its rows of the batch: [first_row, first_row + rows)
  int64_t rows = 0;
};

// A row of a recorded step that is no sequence's has so many tokens behind it: with itself it sees
// none. It has no pages, nothing is stored for it, and its attention is not computed.
inline constexpr int64_t kPaddingPast = -1;

struct AttentionConfig {
  int64_t heads = 0;
  int64_t kv_heads = 0;          // divides heads
  int64_t head_size = 0;         // multiple of 8
  float scale = 0;               // usually head_size^-1/2
  int64_t window = 0;            // sliding window in tokens, the current one included; 0: none
  DType kv_dtype = DType::kF32;  // f32, f16 or bf16
  int64_t layer = 0;             // the GPU keeps a page table for each
  // Of a recorded step, whose page table has a row for each sequence, with a place for each of so
  // many pages in each of the model's layers; 0: of any other pass.
  int64_t table_pages = 0;
  int64_t layers = 1;

  int64_t page_values() const { return 2 * kv_heads * kPageTokens * head_size; }
  int64_t page_bytes() const { return bytes_of(kv_dtype, page_values()); }
};

// Writes k, v [m, kv_heads, head_size] f32 of each sequence's rows at tokens past .. past + rows.
void store_kv(OpContext& ctx, const AttentionConfig& config, std::span<const KvSequence> sequences,
              const Tensor& k, const Tensor& v);

// out[row, h, :] = softmax(scale q . K^T) V over tokens 0 .. past + (row - first_row), within the
// window. q, out: f32 [m, heads, head_size]. Order of accumulation fixed by token index alone, so
// placement, batch and number of threads never change a bit (on a GPU, among sequences of few rows
// and among those of many: ops/cuda/prefill_plan.h). Counts the K and V bytes of every
// token read, once per KV head. On the GPU `out` may also be f16 or bf16.
void attention(OpContext& ctx, const AttentionConfig& config, std::span<const KvSequence> sequences,
               const Tensor& q, const Tensor& out);

// Says what the attention of a layer will read in the pass that begins, before its first operation:
// mode prefetch copies remote pages ahead. Nothing in other modes.
void announce_kv(OpContext& ctx, const AttentionConfig& config,
                 std::span<const KvSequence> sequences);

// Throws kInternal for a configuration or sequences that do not fit together or a batch of m rows.
void check_attention(const AttentionConfig& config, std::span<const KvSequence> sequences,
                     int64_t m);

// Adds what `attention` reads.
void count_kv_traffic(const AttentionConfig& config, std::span<const KvSequence> sequences,
                      TierTraffic& traffic);

}  // namespace dak
