// How remote pages come to prefill attention: each byte crosses the link once, into a ring in
// device memory, from where every tile that sees it reads it as if it were local. One thread of
// every thread block copies, as much at a time as the link's window allows over all of them (see
// sm90_gemm_ring.cuh, which does the same for weights).
#pragma once

#include "kernels/ptx/bulk_copy.cuh"
#include "kernels/reader_samples.cuh"
#include "ops/cuda/sm90_prefill_shared.cuh"

namespace dak::cuda {

// Until the units that use what is in the slot of item `number` are done; false: it took waiting.
__device__ inline bool wait_for_slot(const PrefillParams& p, int32_t number) {
  const PrefillUsers users = users_of_item(p.plan, number);
  bool had_room = true;
  while (ptx::load_acquire(prefill_done(p) + users.counter) <
         static_cast<uint32_t>(2 * users.units)) {
    had_room = false;
    ptx::sleep_ns(200);
  }
  return had_room;
}

// One thread of each thread block; returns when all copies of its tier are taken.
template <typename Shape>
__device__ void read_pages_to_ring(const PrefillParams& p, const PrefillShared<Shape>& shared) {
  if (p.tiers == 0) return;
  const auto tiers = static_cast<uint32_t>(p.tiers);
  const uint32_t slot = blockIdx.x % tiers;
  const uint32_t rank = blockIdx.x / tiers;
  const uint32_t readers =
      min(static_cast<uint32_t>(p.readers), (gridDim.x - slot + tiers - 1) / tiers);
  if (rank >= readers) return;
  const int32_t tier = p.tier[slot];
  LinkState& link = p.links[tier];
  uint32_t* next = &p.counters->next_copy[slot];
  const uint32_t tickets =
      static_cast<uint32_t>(p.plan.fetches[tier * p.plan.sequence_count - 1].end) *
      Shape::kItemCopies;
  const uint64_t policy = ptx::policy_evict_first();
  ReaderSamples samples;
  uint32_t phase = 0;
  atomicAdd(&link.active_readers, 1u);
  for (;;) {
    const uint32_t window = load_volatile(link.window_bytes) / Shape::kCopyBytes;
    // Others on the link, such as a matmul that starts early, have their share of the window.
    const uint32_t allowed =
        max(window * readers / max(load_volatile(link.active_readers), readers), 1u);
    if (rank >= allowed) {
      if (load_volatile(*next) >= tickets) break;
      ptx::sleep_ns(500);
      continue;
    }
    const uint32_t ticket = atomicAdd(next, 1u);
    if (ticket >= tickets) break;
    const PrefillItem item =
        find_fetch(p.plan, tier, static_cast<int32_t>(ticket / Shape::kItemCopies));
    const uint32_t offset = ticket % Shape::kItemCopies * Shape::kCopyBytes;
    const bool had_room = item.number < p.slots || wait_for_slot(p, item.number - p.slots);
    const uint32_t which = offset / Shape::kPageBytes;  // 0 keys, 1 values
    const std::byte* source = p.kv.pages[item.table_page] +
                              (which * p.kv.kv_heads + item.kv_head) * Shape::kPageBytes +
                              offset % Shape::kPageBytes;
    const int32_t place = item.number % p.slots;
    const uint32_t begin = ptx::cycle_count();
    ptx::mbarrier_arrive_expect_tx(&shared.control->copied, Shape::kCopyBytes);
    ptx::bulk_copy(shared.copy, source, Shape::kCopyBytes, &shared.control->copied, policy);
    ptx::mbarrier_wait(&shared.control->copied, phase);
    const uint32_t delay = ptx::cycle_count() - begin;
    phase ^= 1;
    ptx::bulk_store(p.ring + static_cast<int64_t>(place) * 2 * Shape::kPageBytes + offset,
                    shared.copy, Shape::kCopyBytes);
    ptx::bulk_store_commit();
    ptx::bulk_store_wait();
    ptx::fence_proxy_async_all();
    ptx::add_release(prefill_ready(p) + place, 1);

    samples.add(delay, allowed < readers && had_room);
    if (samples.count == 4) samples.tell(link, window, Shape::kCopyBytes);
  }
  samples.tell(link, load_volatile(link.window_bytes) / Shape::kCopyBytes, Shape::kCopyBytes);
  atomicSub(&link.active_readers, 1u);
}

}  // namespace dak::cuda
