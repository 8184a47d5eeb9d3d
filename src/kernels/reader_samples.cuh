// What one thread that reads a remote tier, one copy at a time, tells the link's controller.
#pragma once

#include <cstdint>

#include "kernels/link_window.cuh"

namespace dak {

// What a reader has seen and not yet told the link's state.
struct ReaderSamples {
  uint32_t count = 0;
  uint32_t limited = 0;
  uint32_t delay_sum = 0;
  uint32_t min_delay = UINT32_MAX;
  uint32_t start_cycles = ptx::cycle_count();
  uint64_t start_ns = ptx::global_time_ns();

  __device__ void add(uint32_t delay, bool was_limited) {
    delay_sum += delay;
    min_delay = min(min_delay, delay);
    if (was_limited) ++limited;
    ++count;
  }

  // `window_units`: copies of `copy_bytes` that the window holds.
  __device__ void tell(LinkState& link, uint32_t window_units, uint32_t copy_bytes) {
    if (count == 0) return;
    if (min_delay < load_volatile(link.min_delay_cycles)) {
      atomicMin(&link.min_delay_cycles, min_delay);
    }
    atomicAdd(&link.read_bytes, static_cast<unsigned long long>(count) * copy_bytes);
    const unsigned long long added = pack_epoch(count, limited, delay_sum);
    const unsigned long long before = atomicAdd(&link.epoch, added);
    if ((before + added) >> 48 >= epoch_samples(window_units)) {
      const unsigned long long epoch = atomicExch(&link.epoch, 0ull);
      const auto elapsed_us = static_cast<uint32_t>((ptx::global_time_ns() - start_ns) / 1000);
      const uint32_t cycles_per_us =
          elapsed_us >= 20 ? (ptx::cycle_count() - start_cycles) / elapsed_us : 0;
      if (epoch >> 48 > 0) update_window(link, epoch, cycles_per_us);
    }
    count = limited = delay_sum = 0;
  }
};

}  // namespace dak
