// How remote row blocks come to a GEMM: each byte crosses the link once, into a ring of row blocks
// in device memory, from where every token tile reads it as if it were local. (L2 does not keep
// lines of host memory, but those that an SM wrote.) One thread of every thread block copies, 8 KiB
// at a time through shared memory, so no SM is lost to reading; what is in flight is as many of
// these readers as the link's window allows. They wait for nothing but room in the ring, so the
// link is busy from the kernel's first microsecond on, before the kernel ahead has ended. In a
// recorded step they go on to the next GEMM's row blocks when their own are there.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/sm90_gemm_feed.cuh"
#include "kernels/sm90_gemm_stages.cuh"

namespace dak {

// One thread of each thread block; returns when all fetches of its tier are taken.
__device__ inline void read_to_ring(const GemmParams& params, FeedCopier& copier) {
  const GemmFeed& feed = params.feed;
  if (feed.ring == nullptr || feed.tiers == 0) return;
  const auto tiers = static_cast<uint32_t>(feed.tiers);
  const uint32_t slot = blockIdx.x % tiers;
  const uint32_t rank = blockIdx.x / tiers;
  const uint32_t readers =
      min(static_cast<uint32_t>(params.readers), (gridDim.x - slot + tiers - 1) / tiers);
  if (rank >= readers) return;
  LinkState& link = params.links[feed.tier[slot]];
  uint32_t* next_early = &feed.counters->next_early[slot];
  uint32_t* next = &feed.counters->next[slot];
  const uint32_t early = feed_tickets(feed.fetch_begin[slot], feed.early_end[slot]);
  const uint32_t tickets = feed_tickets(feed.fetch_begin[slot], feed.fetch_end[slot]);
  const auto halves = static_cast<uint32_t>(2 * params.token_groups * params.token_ranks);
  ReaderSamples samples;
  bool early_left = true;
  atomicAdd(&link.active_readers, 1u);
  for (;;) {
    const uint32_t window_units = load_volatile(link.window_bytes) / kWindowUnitBytes;
    // Others on the link, such as a matmul that starts early, have their share of the window.
    const uint32_t allowed =
        max(window_units * readers / max(load_volatile(link.active_readers), readers), 1u);
    if (rank >= allowed) {
      if (load_volatile(*next_early) >= early && early + load_volatile(*next) >= tickets) break;
      ptx::sleep_ns(500);
      continue;
    }
    uint32_t ticket = early_left ? atomicAdd(next_early, 1u) : early;
    if (ticket >= early) {
      early_left = false;
      ticket = early + atomicAdd(next, 1u);
    }
    if (ticket >= tickets) break;
    const GemmFetch fetch =
        feed.fetches[static_cast<uint32_t>(feed.fetch_begin[slot]) + ticket / kSegmentChunks];
    const int32_t chunk =
        fetch.segment * kSegmentChunks + static_cast<int32_t>(ticket % kSegmentChunks);
    if (chunk >= feed.chunks) continue;  // the last segment is short
    bool had_room = true;
    if (fetch.block >= feed.slots) {  // until the row block that was there is done with
      const uint32_t* released = gemm_released(feed, fetch.block - feed.slots);
      while (ptx::load_acquire(released) < halves) {
        had_room = false;
        ptx::sleep_ns(200);
      }
    }
    samples.add(copier.copy(feed, fetch, chunk), allowed < readers && had_room);
    if (samples.count == 4) samples.tell(link, window_units, kFeedChunkBytes);
  }
  samples.tell(link, load_volatile(link.window_bytes) / kWindowUnitBytes, kFeedChunkBytes);
  atomicSub(&link.active_readers, 1u);
}

// The same thread afterwards, for the GEMMs behind this one, while its thread block multiplies.
template <typename Shape>
__device__ void read_for_next(const GemmParams& params, const GemmShared<Shape>& shared,
                              FeedCopier& copier) {
  if (params.ahead[0].ring == nullptr) return;
  ptx::grid_dependency_wait();  // so that the GEMM before this one has left the next one's half
  for (const GemmFeed& feed : params.ahead) {
    read_ahead(feed, params.links, copier, blockIdx.x,
               [&shared] { return shared.control->filled != 0; });
  }
}

}  // namespace dak
