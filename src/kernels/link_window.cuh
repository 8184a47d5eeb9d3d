// The window of a remote link, seen from inside a kernel. A reader has one thread that issues
// copies, one that times their arrival, and one that shares those times with the other readers
// through LinkState and fetches the reader's share of the window. (One thread for the first two
// took 470 ns a chunk, too slow for NVLink.)
#pragma once

#include <cstdint>

#include "kernels/link_state.h"
#include "kernels/ptx/sync.cuh"
#include "memory/weight_layout.h"

namespace dak {

inline constexpr uint32_t kWindowUnitBytes = kChunkBytes;

// In shared memory. Counts only ever grow.
struct ReaderMailbox {
  volatile uint32_t quota;           // chunks this reader may have in flight; by the controller
  volatile uint32_t limited;         // chunks that the quota held back; by the issuer
  volatile uint32_t idle;            // ring full, nothing in flight: others may use this share
  volatile uint32_t samples;         // chunks arrived; this and the rest by the timer
  volatile uint32_t arrived_stages;  // ring stages
  volatile uint32_t delay_sum;       // cycles, wraps
  volatile uint32_t min_delay;
  volatile uint32_t finished;

  __device__ void init() {
    quota = 0;
    samples = 0;
    arrived_stages = 0;
    delay_sum = 0;
    limited = 0;
    min_delay = UINT32_MAX;
    idle = 0;
    finished = 0;
  }
};

// LinkState::epoch packs samples, limited samples and the sum of delays, so that one atomic adds
// all three and one exchange takes them.
__device__ inline unsigned long long pack_epoch(uint32_t samples, uint32_t limited,
                                                uint32_t delay_sum) {
  return static_cast<unsigned long long>(samples) << 48 |
         static_cast<unsigned long long>(limited & 0xffffu) << 32 | delay_sum;
}

__device__ inline uint32_t load_volatile(const uint32_t& word) {
  return *static_cast<const volatile uint32_t*>(&word);
}

__device__ inline void update_window(LinkState& link, unsigned long long epoch,
                                     uint32_t cycles_per_us) {
  const auto samples = static_cast<uint32_t>(epoch >> 48);
  const auto limited = static_cast<uint32_t>(epoch >> 32) & 0xffffu;
  const uint32_t delay = static_cast<uint32_t>(epoch) / samples;
  const float target = kDelayGain * static_cast<float>(load_volatile(link.min_delay_cycles));
  float factor = 0.5f + 0.5f * target / static_cast<float>(delay);
  factor = fminf(fmaxf(factor, 0.7f), 1.3f);
  const bool supply_limited = 2 * limited < samples;
  if (link.fixed == 0 && (factor < 1.0f || !supply_limited)) {
    const float window = factor * static_cast<float>(load_volatile(link.window_bytes));
    // 16 MiB is more than any set of rings holds.
    link.window_bytes = static_cast<uint32_t>(
        fminf(fmaxf(window, static_cast<float>(link.min_window_bytes)), 16.0f * 1024 * 1024));
  }
  const uint64_t now = ptx::global_time_ns();
  link.last_epoch_duration_ns = now - link.epoch_ns;
  link.epoch_ns = now;
  link.delay_cycles = delay;
  link.epoch_chunks = samples;
  if (cycles_per_us > 0) link.cycles_per_us = cycles_per_us;
  link.updates += 1;
}

// Two windows' worth: the first was issued before the last change.
__device__ inline uint32_t epoch_samples(uint32_t window_units) {
  return max(64u, min(2 * window_units, 4096u));
}

// What reader `rank` of `readers` does for its link; one thread. `chunk_bytes`: of a copy that the
// mailbox counts as one sample.
class WindowControl {
 public:
  __device__ WindowControl(LinkState& link, ReaderMailbox& box, uint32_t rank, uint32_t readers,
                           uint32_t chunk_bytes)
      : link_(link),
        box_(box),
        rank_(rank),
        readers_(readers),
        chunk_bytes_(chunk_bytes),
        start_ns_(ptx::global_time_ns()),
        start_cycles_(ptx::cycle_count()) {
    atomicAdd(&link_.active_readers, 1u);
  }

  // Takes the reader's share of the window, and shares out the times of what has arrived. The last
  // time with `finished`.
  __device__ void step(bool finished) {
    // A reader of the next kernel that waits for its x must not take from this kernel's window.
    if ((box_.idle != 0) != idle_) {
      idle_ = !idle_;
      if (idle_) {
        atomicSub(&link_.active_readers, 1u);
      } else {
        atomicAdd(&link_.active_readers, 1u);
      }
    }
    const uint32_t window_units = load_volatile(link_.window_bytes) / chunk_bytes_;
    const uint64_t elapsed_ns = ptx::global_time_ns() - start_ns_;
    uint32_t sharers = max(load_volatile(link_.active_readers), 1u);
    // The other readers are starting too: do not take their shares before they register.
    if (elapsed_ns < 4000) sharers = max(sharers, readers_);
    box_.quota = max((window_units + rank_) / sharers, 1u);

    const uint32_t new_samples = box_.samples - samples_;
    if (new_samples >= 4 || (finished && new_samples > 0)) {
      share_times(new_samples, window_units, elapsed_ns);
    }
    if (finished && !idle_) atomicSub(&link_.active_readers, 1u);
  }

 private:
  __device__ void share_times(uint32_t new_samples, uint32_t window_units, uint64_t elapsed_ns) {
    const uint32_t new_sum = box_.delay_sum - delay_sum_;
    const uint32_t new_limited = box_.limited - limited_;
    samples_ += new_samples;
    delay_sum_ += new_sum;
    limited_ += new_limited;
    if (box_.min_delay < min_delay_) {
      min_delay_ = box_.min_delay;
      atomicMin(&link_.min_delay_cycles, min_delay_);
    }
    atomicAdd(&link_.read_bytes, static_cast<unsigned long long>(new_samples) * chunk_bytes_);
    const unsigned long long added = pack_epoch(new_samples, new_limited, new_sum);
    const unsigned long long before = atomicAdd(&link_.epoch, added);
    if ((before + added) >> 48 < epoch_samples(window_units)) return;
    const unsigned long long epoch = atomicExch(&link_.epoch, 0ull);
    const auto elapsed_us = static_cast<uint32_t>(elapsed_ns / 1000);
    const uint32_t cycles_per_us =
        elapsed_us >= 20 ? (ptx::cycle_count() - start_cycles_) / elapsed_us : 0;
    if (epoch >> 48 > 0) update_window(link_, epoch, cycles_per_us);
  }

  LinkState& link_;
  ReaderMailbox& box_;
  uint32_t rank_;
  uint32_t readers_;
  uint32_t chunk_bytes_;
  uint64_t start_ns_;
  uint32_t start_cycles_;
  uint32_t samples_ = 0;
  uint32_t delay_sum_ = 0;
  uint32_t limited_ = 0;
  uint32_t min_delay_ = UINT32_MAX;
  bool idle_ = false;
};

// One thread of reader `rank` of `readers`; returns once the issuing thread has finished.
__device__ inline void run_window_control(LinkState& link, ReaderMailbox& box, uint32_t rank,
                                          uint32_t readers) {
  WindowControl control(link, box, rank, readers, kWindowUnitBytes);
  for (bool finished = false; !finished;) {
    finished = box.finished != 0;
    control.step(finished);
    ptx::sleep_ns(100);
  }
}

}  // namespace dak
