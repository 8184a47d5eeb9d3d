// Parameters and launch of the Hopper GEMM of many rows; no device code, so that host code can
// include it.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "base/dtype.h"
#include "kernels/gemm_schedule.h"
#include "kernels/link_state.h"
#include "kernels/split_epilogue.h"

namespace dak {

// Counters of one launch in device memory, all zero before and after it. Behind it lie
// ready[remote blocks][segments], chunks copied, and released[remote blocks], halves of token tiles
// done.
struct GemmCounters {
  uint32_t next[kMaxTiers];  // fetches taken, in chunks
  uint32_t done;             // thread blocks
  uint32_t unused[7];
};

struct GemmParams {
  CUtensorMap x_map;        // x [tokens, k], boxes of [token tile / weight_ranks, 64], swizzled
  CUtensorMap x_half_map;   // the same of half as many tokens
  const GemmBlock* blocks;  // [groups * kGroupBlocks]
  const GemmFetch* fetches;
  LinkState* links;        // [kMaxTiers]
  GemmCounters* counters;  // of this launch
  std::byte* ring;         // [slots][row block]; null: remote row blocks are read where they lie
  int64_t block_bytes;     // of a row block
  int32_t slots;
  int32_t chunks;    // of 64 columns
  int32_t segments;  // along K
  int32_t remote_blocks;
  int32_t groups;
  GemmOrdering order;
  // A cluster is weight_ranks x token_ranks thread blocks: those of one token tile share x, those
  // of one pair of row blocks share weights.
  int32_t weight_ranks;
  int32_t token_ranks;
  int32_t token_groups;     // token tiles / token_ranks
  int32_t whole_tiles;      // of a cluster; the others are cut in two halves of the tokens each
  int32_t readers;          // thread blocks of each tier that copy to the ring, at most
  int32_t tiers;            // with fetches
  int32_t tier[kMaxTiers];  // which
  int32_t fetch_begin[kMaxTiers];  // of each of them
  int32_t fetch_end[kMaxTiers];
  SplitEpilogue epilogue;
};

// Token tiles that there are kernels for.
inline constexpr int kGemmTokenTiles[] = {128, 256};

// Clusters of `size` thread blocks that the current GPU runs at a time; 0: none of that size.
int gemm_clusters(DType dtype, int token_tile, int size);

// Enqueues the kernel for a token tile of 128 or 256; at most as many clusters as run at a time.
void launch_sm90_gemm(const GemmParams& params, DType dtype, int token_tile, int clusters,
                      bool overlap_previous, cudaStream_t stream);

}  // namespace dak
