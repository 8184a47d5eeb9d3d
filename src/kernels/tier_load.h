// Load for `dak probe`: two tiers read at once for a fixed time, writes to a tier, launches of
// nothing.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_kind.h"
#include "memory/weight_layout.h"

namespace dak {

// Sums over all thread blocks; in device memory, zero at the start.
struct TierLoadCounts {
  unsigned long long local_bytes;  // arrived in time
  unsigned long long remote_bytes;
  unsigned long long delay_cycles;   // of the chunks below, from request to arrival, summed
  unsigned long long timed_chunks;   // remote ones
  unsigned long long clock_cycles;   // of the thread blocks that timed chunks, over all their time
  unsigned long long clock_time_ns;  // the same in nanoseconds
};

// The first `remote_blocks` thread blocks read `remote` over and over, the others `local`. Each
// keeps its chunks in flight until its time is over. Sizes are multiples of the chunks; a local
// chunk has kLocalLoadChunkBytes. All thread blocks must fit on the GPU at once.
struct TierLoad {
  const std::byte* local = nullptr;
  int64_t local_bytes = 0;
  const std::byte* remote = nullptr;
  int64_t remote_bytes = 0;
  int thread_blocks = 132;
  int remote_blocks = 0;
  int remote_chunk_bytes = kChunkBytes;  // a multiple of 16
  int remote_chunks_in_flight = 4;       // of each thread block; plain kernels: always 4
  int64_t duration_ns = 0;
  TierLoadCounts* counts = nullptr;
};

inline constexpr int kLocalLoadChunkBytes = 16384;
// Of the chunks in flight of one thread block.
inline constexpr int kMostLoadSharedBytes = 192 * 1024;
inline constexpr int kMostPlainLoadSharedBytes = 64 * 1024;
inline constexpr int kPlainLoadChunks = 4;
inline constexpr int kMostLoadChunks = 64;

// Enqueues it. `kernels`: not kAuto.
void load_tiers(const TierLoad& load, KernelKind kernels, cudaStream_t stream);

// Enqueues stores of 16 bytes to all of [data, data + size_bytes).
void write_tier(std::byte* data, int64_t size_bytes, int thread_blocks, cudaStream_t stream);

// Enqueues a kernel of one thread that does nothing. `overlap`: may start before the one ahead of
// it has ended (programmatic dependent launch).
void launch_nothing(bool overlap, cudaStream_t stream);

// What load_tiers enqueues.
void launch_sm90_tier_load(const TierLoad& load, cudaStream_t stream);
void launch_plain_tier_load(const TierLoad& load, cudaStream_t stream);

}  // namespace dak
