// A reader's part in the congestion control of its link (kernels/link_window.cuh). A thread block
// of attention has no threads to spare for it: the warp that waits for a copy times it, and the
// window tells each warp whether both of its copies, keys and values, may be in flight at a time,
// or one.
#pragma once

#include "kernels/link_window.cuh"

namespace dak::cuda {

// In shared memory; used by lane 0 of a reader's warp.
struct WarpWindow {
  uint64_t start_ns;
  uint32_t start_cycles;
  uint32_t issue_cycles[2];  // of a remote copy in flight; 0: there is none
  uint32_t samples;
  uint32_t delay_sum;  // cycles
  uint32_t min_delay;
  uint32_t both;

  __device__ void begin() {
    start_ns = ptx::global_time_ns();
    start_cycles = ptx::cycle_count();
    issue_cycles[0] = issue_cycles[1] = 0;
    samples = 0;
    delay_sum = 0;
    min_delay = UINT32_MAX;
    both = 1;
  }

  __device__ void issued(int which, bool remote) {
    issue_cycles[which] = remote ? ptx::cycle_count() | 1 : 0;
  }

  // `warp` of `warps` in a thread block whose copies have `copy_bytes`.
  __device__ void arrived(int which, LinkState& link, uint32_t copy_bytes, int warp, int warps) {
    constexpr uint32_t kReported = 8;
    if (issue_cycles[which] == 0) return;
    const uint32_t delay = ptx::cycle_count() - issue_cycles[which];
    delay_sum += delay;
    min_delay = min(min_delay, delay);
    if (++samples < kReported) return;
    report(link, copy_bytes);
    const uint32_t copies = load_volatile(link.window_bytes) / copy_bytes;
    const uint32_t share = copies / max(load_volatile(link.active_readers), 1u);
    both = share > static_cast<uint32_t>(warps + warp) ? 1 : 0;
  }

  __device__ void report(LinkState& link, uint32_t copy_bytes) {
    if (samples == 0) return;
    atomicMin(&link.min_delay_cycles, min_delay);
    atomicAdd(&link.read_bytes, static_cast<unsigned long long>(samples) * copy_bytes);
    const unsigned long long added = pack_epoch(samples, both != 0 ? 0 : samples, delay_sum);
    const unsigned long long before = atomicAdd(&link.epoch, added);
    const uint32_t window_units = load_volatile(link.window_bytes) / kWindowUnitBytes;
    samples = 0;
    delay_sum = 0;
    if ((before + added) >> 48 < epoch_samples(window_units)) return;
    const unsigned long long epoch = atomicExch(&link.epoch, 0ull);
    const auto elapsed_us = static_cast<uint32_t>((ptx::global_time_ns() - start_ns) / 1000);
    const uint32_t cycles_per_us =
        elapsed_us >= 20 ? (ptx::cycle_count() - start_cycles) / elapsed_us : 0;
    if (epoch >> 48 > 0) update_window(link, epoch, cycles_per_us);
  }
};

}  // namespace dak::cuda
