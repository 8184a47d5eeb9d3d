// The host's view of the congestion controller: one LinkState per tier in device memory.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/device_buffer.h"
#include "kernels/link_state.h"
#include "memory/tier.h"

namespace dak {

struct LinkReading {
  int64_t window_bytes = 0;
  bool fixed = false;
  double delay_us = 0;          // mean round trip of 8 KiB in the last epoch
  double min_delay_us = 0;      // least ever; 0: none seen
  double read_bytes_per_s = 0;  // in the last epoch
  int64_t read_bytes = 0;       // since reset
  int64_t updates = 0;
};

class LinkController {
 public:
  LinkController();

  LinkState* device_states() const { return states_.as<LinkState>(); }

  // All links adaptive, nothing learnt. Synchronises the device.
  void reset();
  // For ablations: holds the window of `tier` at `window_bytes`; 0 makes it adaptive again and
  // keeps what was learnt. Synchronises the device.
  void set_fixed_window(TierIndex tier, int64_t window_bytes);
  // As of the work enqueued on `stream` so far; synchronises that stream only.
  LinkReading read(TierIndex tier, cudaStream_t stream) const;

 private:
  LinkState load(TierIndex tier, cudaStream_t stream) const;
  DeviceBuffer states_;
};

}  // namespace dak
