// How remote row blocks come to a GEMM: each byte crosses the link once, into a ring of row blocks
// in device memory, from where every token tile reads it as if it were local. (L2 does not keep
// lines of host memory, but those that an SM wrote.) One thread of every thread block copies, 8 KiB
// at a time through shared memory, so no SM is lost to reading; what is in flight is as many of
// these readers as the link's window allows. They wait for nothing but room in the ring, so the
// link is busy from the kernel's first microsecond on, before the kernel ahead has ended.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/reader_samples.cuh"
#include "kernels/sm90_gemm_stages.cuh"

namespace dak {

// One thread of each thread block; returns when all fetches of its tier are taken.
template <typename Shape>
__device__ void read_to_ring(const GemmParams& params, const GemmShared<Shape>& shared) {
  if (params.ring == nullptr || params.tiers == 0) return;
  const uint32_t slot = blockIdx.x % static_cast<uint32_t>(params.tiers);
  const uint32_t rank = blockIdx.x / static_cast<uint32_t>(params.tiers);
  const auto tiers = static_cast<uint32_t>(params.tiers);
  const uint32_t readers =
      min(static_cast<uint32_t>(params.readers), (gridDim.x - slot + tiers - 1) / tiers);
  if (rank >= readers) return;
  LinkState& link = params.links[params.tier[slot]];
  uint32_t* next = &params.counters->next[slot];
  const auto tickets = static_cast<uint32_t>(params.fetch_end[slot] - params.fetch_begin[slot]) *
                       static_cast<uint32_t>(kSegmentChunks);
  const auto halves = static_cast<uint32_t>(2 * params.token_groups * params.token_ranks);
  const uint64_t policy = ptx::policy_evict_first();
  ReaderSamples samples;
  uint32_t phase = 0;
  atomicAdd(&link.active_readers, 1u);
  for (;;) {
    const uint32_t window_units = load_volatile(link.window_bytes) / kWindowUnitBytes;
    // Others on the link, such as a matmul that starts early, have their share of the window.
    const uint32_t allowed =
        max(window_units * readers / max(load_volatile(link.active_readers), readers), 1u);
    if (rank >= allowed) {
      if (load_volatile(*next) >= tickets) break;
      ptx::sleep_ns(500);
      continue;
    }
    const uint32_t ticket = atomicAdd(next, 1u);
    if (ticket >= tickets) break;
    const GemmFetch fetch =
        params.fetches[static_cast<uint32_t>(params.fetch_begin[slot]) + ticket / kSegmentChunks];
    const int32_t chunk =
        fetch.segment * kSegmentChunks + static_cast<int32_t>(ticket % kSegmentChunks);
    if (chunk >= params.chunks) continue;  // the last segment is short
    bool had_room = true;
    if (fetch.block >= params.slots) {  // until the row block that was there is done with
      const uint32_t* released = gemm_released(params, fetch.block - params.slots);
      while (ptx::load_acquire(released) < halves) {
        had_room = false;
        ptx::sleep_ns(200);
      }
    }
    const std::byte* source = params.blocks[fetch.block].data;
    const uint32_t begin = ptx::cycle_count();
    ptx::mbarrier_arrive_expect_tx(&shared.control->copied, Shape::kChunkBytes);
    ptx::bulk_copy(shared.chunk, source + static_cast<int64_t>(chunk) * Shape::kChunkBytes,
                   Shape::kChunkBytes, &shared.control->copied, policy);
    ptx::mbarrier_wait(&shared.control->copied, phase);
    const uint32_t delay = ptx::cycle_count() - begin;
    phase ^= 1;
    ptx::bulk_store(
        gemm_slot(params, fetch.block) + static_cast<int64_t>(chunk) * Shape::kChunkBytes,
        shared.chunk, Shape::kChunkBytes);
    ptx::bulk_store_commit();
    ptx::bulk_store_wait();
    ptx::fence_proxy_async_all();
    ptx::add_release(gemm_ready(params, fetch.block) + fetch.segment, 1);

    samples.add(delay, allowed < readers && had_room);
    if (samples.count == 4) samples.tell(link, window_units, Shape::kChunkBytes);
  }
  samples.tell(link, load_volatile(link.window_bytes) / kWindowUnitBytes, Shape::kChunkBytes);
  atomicSub(&link.active_readers, 1u);
}

}  // namespace dak
