// Parameters and launches of the small kernels; no device code, so that host code can include it.
// All f32 unless said; each output element is computed in an order fixed by the shape alone.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "kernels/gemm_feed.h"
#include "kernels/link_state.h"
#include "memory/tier.h"
#include "ops/cuda/kv_layout.h"

namespace dak::cuda {

// out[i, :] (+)= row ids[i] + offset of the table.
struct EmbeddingParams {
  const int32_t* ids;              // [m]
  const std::byte* const* blocks;  // row blocks of `dtype`, weight_layout.h
  float* out;                      // [m, cols]
  int64_t m;
  int64_t cols;
  int32_t offset;
  Element dtype;
  bool add;
};
void launch_embedding(const EmbeddingParams& params, cudaStream_t stream);

struct NormParams {
  const float* x;       // [rows, cols]; may be `out`
  const float* weight;  // [cols]
  const float* bias;    // [cols]; null: RMS norm
  void* out;            // [rows, cols] of out_dtype
  int64_t rows;
  int64_t cols;
  float epsilon;
  Element out_dtype;
};
void launch_norm(const NormParams& params, cudaStream_t stream);

struct RopeParams {
  const int32_t* positions;  // [m]
  const float* inverse;      // [half]
  float* x;                  // [m, heads, head_size], in place
  int64_t m;
  int64_t heads;
  int64_t head_size;
  int64_t half;
  float magnitude;
};
void launch_rope(const RopeParams& params, cudaStream_t stream);

inline constexpr size_t kMaxColumnParts = 4;
struct SplitColumnsParams {
  const float* x;                                 // [m, columns]
  std::array<float*, kMaxColumnParts> parts;      // [m, its columns]
  std::array<int64_t, kMaxColumnParts> part_end;  // first column of x after each part
  int64_t m;
  int64_t columns;
};
void launch_split_columns(const SplitColumnsParams& params, cudaStream_t stream);

struct GatherRowsParams {
  const float* x;       // [.., cols]
  const int32_t* rows;  // [m]
  float* out;           // [m, cols]
  int64_t m;
  int64_t cols;
};
void launch_gather_rows(const GatherRowsParams& params, cudaStream_t stream);

// out[i, j] = x[i, j] rounded to nearest even.
struct NarrowParams {
  const float* x;  // [m, cols]
  void* out;       // [m, out_stride] bf16 or f16
  int64_t m;
  int64_t cols;
  int64_t out_stride;  // elements; what lies past `cols` is left alone
  Element dtype;
};
void launch_narrow(const NarrowParams& params, cudaStream_t stream);

// Where a row of the batch stands in its sequence.
struct KvRow {
  int32_t first_page;  // of its sequence, in `pages`
  int32_t token;       // its own index; -1: the row belongs to no sequence
  int32_t fresh;       // the sequence's tokens before this one were there before this pass
};

struct KvParams {
  std::byte* const* pages;  // each [2][kv_heads][kKvPageTokens][head_size] of kv_dtype
  const KvRow* rows;        // [m]
  int64_t m;
  int64_t heads;
  int64_t kv_heads;
  int64_t head_size;
  int64_t window;  // 0: none
  float scale;
  Element kv_dtype;
};

struct StoreKvParams {
  KvParams kv;
  const float* k;  // [m, kv_heads, head_size]
  const float* v;
};
void launch_store_kv(const StoreKvParams& params, cudaStream_t stream);

inline constexpr int kMaxHeadSize = 256;

// See split_heads in ops/heads.h.
struct SplitHeadsParams {
  KvParams kv;
  const float* qkv;          // [m, (heads + 2 kv_heads) head_size]
  const int32_t* positions;  // [m]
  const float* inverse;      // [half]; half 0: no rotation
  const float* q_norm;       // [head_size] or null
  const float* k_norm;
  float* q;  // [m, heads, head_size]
  int64_t half;
  float magnitude;
  float epsilon;
};
void launch_split_heads(const SplitHeadsParams& params, cudaStream_t stream);

struct AttentionParams {
  KvParams kv;
  const float* q;  // [m, heads, head_size]
  void* out;       // [m, heads, head_size] of out_dtype
  Element out_dtype;
  // On tensor cores only:
  int32_t group_tiles;  // of kTileHeads query heads for each KV head
  int32_t tiles;        // of those, that share what is read: a pass
  int32_t passes;
  int32_t tile_heads;  // query heads in the fullest tile
  // Runs (kv_layout.h) by the tier that their readers read: [kMaxTiers] how many, then those
  // of tier 0, tier 1 and so on, as run_entry makes them. Null: every row is one run.
  const uint64_t* runs;
  int32_t piece_room;  // paged_attention.cuh: runs of a row
  int32_t run_room;    // ring_attention.cuh: the same
  int32_t group_room;  // groups of runs of a row
  // All counters are zero between launches.
  // paged_attention.cuh: [m, kv_heads, tiles, piece_room, tile_heads (head_size + 2)] and
  // [m, kv_heads, tiles, 1 + groups of a row].
  float* pieces;            // [m, kv_heads, group_tiles, run_room, piece_floats]
  uint32_t* arrivals;       // [m, kv_heads, group_tiles, 1 + group_room, kMergeWarps]
  float* part_pieces;       // [kMostBlocks, kRunParts, piece_floats]
  uint32_t* part_arrivals;  // [kMostBlocks, kMergeWarps]
  LinkState* links;         // [kMaxTiers]
  std::array<int32_t, kMaxTiers>
      readers;                   // thread blocks of each tier but 0 that has runs, at least
  bool overlap_previous = true;  // not for the kernel: false where pages come by a copy before it
  // ring_attention.cuh: for whom thread blocks that read no remote pages use the link meanwhile, as
  // GemmArgs::ahead.
  std::array<GemmFeed, kGemmAhead> ahead{};
};
// Any page, on any GPU.
void launch_attention(const AttentionParams& params, cudaStream_t stream);
// on_tensor_cores() pages, with sm_90a.
void launch_paged_attention(const AttentionParams& params, int sm_count, cudaStream_t stream);
// Those whose shape takes_ring (kv_layout.h).
void launch_ring_attention(const AttentionParams& params, int sm_count, cudaStream_t stream);

}  // namespace dak::cuda
