// One thread's part in bringing remote row blocks to a GEMM's ring in device memory, for the GEMM's
// own readers and for kernels ahead of it, whose time on the link would be lost otherwise.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/gemm_feed.h"
#include "kernels/ptx/bulk_copy.cuh"
#include "kernels/ptx/cluster.cuh"
#include "kernels/ptx/sync.cuh"
#include "kernels/reader_samples.cuh"
#include "memory/weight_layout.h"

namespace dak {

inline constexpr uint32_t kFeedChunkBytes = kChunkBytes;  // of shared memory that a reader needs
// A reader that fetches ahead has this part of the link's window while others read the link.
inline constexpr uint32_t kAheadPart = 4;

__device__ inline uint32_t* gemm_ready(const GemmFeed& feed, int32_t block) {
  return reinterpret_cast<uint32_t*>(feed.counters + 1) +
         static_cast<int64_t>(block) * feed.segments;
}
__device__ inline uint32_t* gemm_released(const GemmFeed& feed, int32_t block) {
  return gemm_ready(feed, feed.remote_blocks) + block;
}
__device__ inline std::byte* gemm_slot(const GemmFeed& feed, int32_t block) {
  return feed.ring + block % feed.slots * feed.block_bytes;
}

// A number for each chunk of a tier's fetches; those of the last segment's missing columns count
// too.
__device__ inline uint32_t feed_tickets(int32_t begin, int32_t end) {
  return static_cast<uint32_t>(end - begin) * static_cast<uint32_t>(kSegmentChunks);
}

// A chunk's way over the link, through shared memory, to its place in the ring.
struct FeedCopier {
  std::byte* chunk;      // 128-byte aligned, kFeedChunkBytes
  ptx::Barrier* copied;  // one arrival
  uint64_t policy = ptx::policy_evict_first();
  uint32_t phase = 0;

  // The slot is free. Returns the cycles that the link took.
  __device__ uint32_t copy(const GemmFeed& feed, const GemmFetch& fetch, int32_t index) {
    const int64_t offset = static_cast<int64_t>(index) * kFeedChunkBytes;
    const uint32_t begin = ptx::cycle_count();
    ptx::mbarrier_arrive_expect_tx(copied, kFeedChunkBytes);
    ptx::bulk_copy(chunk, feed.blocks[fetch.block].data + offset, kFeedChunkBytes, copied, policy);
    ptx::mbarrier_wait(copied, phase);
    const uint32_t delay = ptx::cycle_count() - begin;
    phase ^= 1;
    ptx::bulk_store(gemm_slot(feed, fetch.block) + offset, chunk, kFeedChunkBytes);
    ptx::bulk_store_commit();
    ptx::bulk_store_wait();
    ptx::fence_proxy_async_all();
    ptx::add_release(gemm_ready(feed, fetch.block) + fetch.segment, 1);
    return delay;
  }
};

// For a GEMM that runs later: its early fetches, until none is left or stop(). Never waits for
// room, so it delays other reads by at most one chunk. The GEMM that had this half of the workspace
// has ended. `rank`: of those who do this.
template <typename Stop>
__device__ void read_ahead(const GemmFeed& feed, LinkState* links, FeedCopier& copier,
                           uint32_t rank, const Stop& stop) {
  if (feed.ring == nullptr || feed.tiers == 0) return;
  const uint32_t slot = rank % static_cast<uint32_t>(feed.tiers);
  rank /= static_cast<uint32_t>(feed.tiers);
  LinkState& link = links[feed.tier[slot]];
  // A counter of its own, so that none is taken beyond the last. (With one counter for all and
  // compare-and-swap, the readers together took one chunk each round trip to it: 12 GB/s.)
  uint32_t* next = &feed.counters->next_early[slot];
  const uint32_t tickets = feed_tickets(feed.fetch_begin[slot], feed.early_end[slot]);
  ReaderSamples samples;
  while (load_volatile(*next) < tickets && !stop()) {
    const uint32_t window_units = load_volatile(link.window_bytes) / kWindowUnitBytes;
    const bool shared = load_volatile(link.active_readers) > 0;
    if (rank >= max(shared ? window_units / kAheadPart : window_units, 1u)) {
      ptx::sleep_ns(500);
      continue;
    }
    const uint32_t ticket = atomicAdd(next, 1u);
    if (ticket >= tickets) break;
    const GemmFetch fetch =
        feed.fetches[static_cast<uint32_t>(feed.fetch_begin[slot]) + ticket / kSegmentChunks];
    const int32_t chunk =
        fetch.segment * kSegmentChunks + static_cast<int32_t>(ticket % kSegmentChunks);
    if (chunk >= feed.chunks) continue;  // the last segment is short
    samples.add(copier.copy(feed, fetch, chunk), !shared);
    if (samples.count == 4) samples.tell(link, window_units, kFeedChunkBytes);
  }
  samples.tell(link, load_volatile(link.window_bytes) / kWindowUnitBytes, kFeedChunkBytes);
}

}  // namespace dak
