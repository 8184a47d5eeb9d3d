// Bandwidth of a tier as kernels see it: thread blocks that do nothing but copy into shared memory.
// The yardstick for every "per cent of the bound", and the engine's probe.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_kind.h"

namespace dak {

struct TierRead {
  const std::byte* data = nullptr;  // readable by the current device, 16-byte aligned
  int64_t size_bytes = 0;           // a multiple of chunk_bytes
  int thread_blocks = 132;
  int chunk_bytes = 16384;
  int chunks_in_flight = 8;  // per thread block; chunk_bytes * this <= 200 KiB; plain: always 4
  KernelKind kernels = KernelKind::kTma;  // not kAuto
};

// Enqueues one pass over the data.
void read_tier(const TierRead& read, cudaStream_t stream);

// Best of `repeats` passes, bytes per second. Synchronises.
double measure_read_bandwidth(const TierRead& read, int repeats);

// What read_tier enqueues.
void launch_sm90_tier_reader(const TierRead& read, cudaStream_t stream);
void launch_plain_tier_reader(const TierRead& read, cudaStream_t stream);

}  // namespace dak
