// Attention needs the link for its own remote pages at most, and in a step of many rows takes long.
// So a thread of each thread block that reads none brings remote weights to the rings of the GEMMs
// that come next, until these are full, or all of attention's work on the link and its own thread
// block's is done.
#pragma once

#include "kernels/sm90_gemm_feed.cuh"
#include "ops/cuda/ring_attention_shared.cuh"

namespace dak::cuda::ring {

// One thread of each reader, which has read all its pages.
__device__ inline void tell_reader_ended(const AttentionParams& p) {
  if (p.ahead[0].ring == nullptr) return;
  // Not before: the GEMM that had the counters before clears them.
  ptx::grid_dependency_wait();
  atomicAdd(&p.ahead[0].counters->readers_ahead, 1u);  // that GEMM clears it
}

// One thread of each other thread block.
template <int kHeadSize>
__device__ void read_for_gemms(const AttentionParams& p, AttentionShared<kHeadSize>& shared,
                               std::byte* chunk, const UnitShare& share) {
  if (p.ahead[0].ring == nullptr) return;
  ptx::grid_dependency_wait();  // GEMMs before have left both halves of the workspace
  FeedCopier copier{.chunk = chunk, .copied = &shared.copied};
  // With more launches of attention before the GEMM the count is too high: they only stop earlier.
  const uint32_t& ended = p.ahead[0].counters->readers_ahead;
  const auto readers = static_cast<uint32_t>(share.first_block);
  const auto rank = blockIdx.x - readers;
  for (const GemmFeed& feed : p.ahead) {
    read_ahead(feed, p.links, copier, rank, [&shared, &ended, readers] {
      return shared.no_more != 0 && load_volatile(ended) >= readers;
    });
  }
}

}  // namespace dak::cuda::ring
