// What the congestion controller of one link knows. Lives in device memory, so that it survives
// from launch to launch and across CUDA graph replays; the host reads it with LinkController.
#pragma once

#include <cstdint>

namespace dak {

// Control law, run by the readers themselves after each `epoch` of samples (see link_window.cuh):
//
//   target  = kDelayGain * least delay ever seen
//   window <- window * (1 + target / mean delay) / 2, within [0.7, 1.3] of the old one;
//             growth only while readers were held back by the window and not by lack of work
//
// Past the knee of a link, delay = window / bandwidth, so the law settles where delay = target,
// that is at window = kDelayGain * bandwidth * least delay. Measured with PCIe 5 and HBM busy: a
// link needs 2.5x (H100) to 5x (H200) its idle bandwidth-delay product, HBM reads suffer from
// about 8x on; on NVLink 1x and more than 6x. It is the only constant; FAST TCP (Wei et al., 2006)
// is the same law for networks.
inline constexpr float kDelayGain = 6.0f;

struct alignas(128) LinkState {
  uint32_t window_bytes;        // allowed in flight over all readers of the tier
  uint32_t min_window_bytes;    // one chunk for each reader
  uint32_t fixed;               // 1: the window stays as it is
  uint32_t active_readers;      // over all kernels in flight
  uint32_t min_delay_cycles;    // least round trip of one 8 KiB chunk
  uint32_t delay_cycles;        // mean round trip of the last epoch
  uint32_t updates;             // epochs evaluated
  uint32_t cycles_per_us;       // SM clock when last evaluated
  uint32_t epoch_chunks;        // samples of the last epoch
  unsigned long long epoch;     // packed sums, see link_window.cuh
  unsigned long long epoch_ns;  // when the last epoch ended
  unsigned long long last_epoch_duration_ns;
  unsigned long long read_bytes;  // total since reset
};

}  // namespace dak
