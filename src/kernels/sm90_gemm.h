// Parameters and launch of the Hopper GEMM of many rows; no device code, so that host code can
// include it.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>

#include "base/dtype.h"
#include "kernels/gemm_feed.h"
#include "kernels/link_state.h"
#include "kernels/split_epilogue.h"

namespace dak {

struct GemmParams {
  CUtensorMap x_map;       // x [tokens, k], boxes of [token tile / weight_ranks, 64], swizzled
  CUtensorMap x_half_map;  // the same of half as many tokens
  GemmFeed feed;
  std::array<GemmFeed, kGemmAhead> ahead;  // whose fetches readers make when their own are made
  LinkState* links;                        // [kMaxTiers]
  int32_t groups;
  GemmOrdering order;
  // A cluster is weight_ranks x token_ranks thread blocks: those of one token tile share x, those
  // of one pair of row blocks share weights.
  int32_t weight_ranks;
  int32_t token_ranks;
  int32_t token_groups;  // token tiles / token_ranks
  int32_t whole_tiles;   // of a cluster; the others are cut in two halves of the tokens each
  int32_t readers;       // thread blocks of each tier that copy to the ring, at most
  SplitEpilogue epilogue;
};

// Clusters of `size` thread blocks that the current GPU runs at a time; 0: none of that size.
int gemm_clusters(DType dtype, int token_tile, int size);

// Enqueues the kernel for a token tile of 128 or 256; at most as many clusters as run at a time.
void launch_sm90_gemm(const GemmParams& params, DType dtype, int token_tile, int clusters,
                      bool overlap_previous, cudaStream_t stream);

}  // namespace dak
