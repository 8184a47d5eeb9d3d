// The one pipeline idiom of dak's kernels: a ring of stages in shared memory, each with barriers
// that say `full` (bytes have arrived) and `empty` (consumers are done), walked by stage and phase.
#pragma once

#include <cstdint>

#include "kernels/ptx/mbarrier.cuh"

namespace dak {

template <int kStages>
struct RingPosition {
  uint32_t stage = 0;
  uint32_t phase = 0;

  __device__ void advance() {
    if (++stage == kStages) {
      stage = 0;
      phase ^= 1;
    }
  }
};

// `kParts` parts of a stage complete one by one; `x` is the part that all consumers share.
template <int kStages, int kParts>
struct RingBarriers {
  ptx::Barrier full[kStages][kParts];
  ptx::Barrier x_full[kStages];
  ptx::Barrier empty[kStages];

  // One thread, before a __syncthreads.
  __device__ void init(uint32_t consumer_arrivals) {
    for (int stage = 0; stage < kStages; ++stage) {
      for (int part = 0; part < kParts; ++part) ptx::mbarrier_init(&full[stage][part], 1);
      ptx::mbarrier_init(&x_full[stage], 1);
      ptx::mbarrier_init(&empty[stage], consumer_arrivals);
    }
  }
};

}  // namespace dak
