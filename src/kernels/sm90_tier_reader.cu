#include <algorithm>

#include "kernels/launch.h"
#include "kernels/ptx/bulk_copy.cuh"
#include "kernels/ptx/sync.cuh"
#include "kernels/tier_load.h"
#include "kernels/tier_reader.h"

namespace dak {
namespace {

constexpr int kMaxChunksInFlight = 64;
constexpr int kLocalLoadChunks = 8;

__global__ void read_tier_kernel(const __grid_constant__ TierRead read) {
  extern __shared__ __align__(128) std::byte chunks[];
  __shared__ ptx::Barrier full[kMaxChunksInFlight];
  for (int i = 0; i < read.chunks_in_flight; ++i) ptx::mbarrier_init(&full[i], 1);
  ptx::fence_barrier_init();
  const uint64_t policy = ptx::policy_evict_first();
  const auto bytes = static_cast<uint32_t>(read.chunk_bytes);
  const int64_t count = read.size_bytes / read.chunk_bytes;
  int slot = 0;
  uint32_t phase = 0;
  int64_t issued = 0;
  for (int64_t i = blockIdx.x; i < count; i += gridDim.x) {
    if (issued++ >= read.chunks_in_flight) ptx::mbarrier_wait(&full[slot], phase ^ 1);
    ptx::mbarrier_arrive_expect_tx(&full[slot], bytes);
    ptx::bulk_copy(chunks + static_cast<int64_t>(slot) * read.chunk_bytes,
                   read.data + i * read.chunk_bytes, bytes, &full[slot], policy);
    if (++slot == read.chunks_in_flight) {
      slot = 0;
      phase ^= 1;
    }
  }
  // Shared memory must outlive the copies: wait for the last round. A slot before `slot` was last
  // used in this round, the others in the one before, or never.
  for (int i = 0; i < read.chunks_in_flight; ++i) {
    if (i < slot) {
      ptx::mbarrier_wait(&full[i], phase);
    } else if (issued >= read.chunks_in_flight) {
      ptx::mbarrier_wait(&full[i], phase ^ 1);
    }
  }
}

// One thread: it issues, waits in order and times.
__global__ void load_tiers_kernel(const __grid_constant__ TierLoad load) {
  extern __shared__ __align__(128) std::byte chunks[];
  __shared__ ptx::Barrier full[kMostLoadChunks];
  __shared__ uint32_t issued_at[kMostLoadChunks];
  const bool remote = static_cast<int>(blockIdx.x) < load.remote_blocks;
  const int rank = remote ? blockIdx.x : blockIdx.x - load.remote_blocks;
  const int blocks = remote ? load.remote_blocks : load.thread_blocks - load.remote_blocks;
  const int64_t chunk = remote ? load.remote_chunk_bytes : kLocalLoadChunkBytes;
  const int slots = remote ? load.remote_chunks_in_flight : kLocalLoadChunks;
  const std::byte* data = remote ? load.remote : load.local;
  const int64_t size = remote ? load.remote_bytes : load.local_bytes;
  for (int i = 0; i < slots; ++i) ptx::mbarrier_init(&full[i], 1);
  ptx::fence_barrier_init();
  const uint64_t policy = ptx::policy_evict_first();
  int64_t at = rank * chunk % size;
  const auto issue = [&](int slot) {
    ptx::mbarrier_arrive_expect_tx(&full[slot], static_cast<uint32_t>(chunk));
    issued_at[slot] = ptx::cycle_count();
    ptx::bulk_copy(chunks + slot * chunk, data + at, static_cast<uint32_t>(chunk), &full[slot],
                   policy);
    at += blocks * chunk;
    while (at >= size) at -= size;
  };
  const uint64_t start_ns = ptx::global_time_ns();
  const uint32_t start_cycles = ptx::cycle_count();
  for (int i = 0; i < slots; ++i) issue(i);
  unsigned long long arrived = 0;
  unsigned long long delay = 0;
  int slot = 0;
  uint32_t phase = 0;
  uint64_t elapsed_ns = 0;
  while (true) {
    ptx::mbarrier_wait(&full[slot], phase);
    elapsed_ns = ptx::global_time_ns() - start_ns;
    if (elapsed_ns >= static_cast<uint64_t>(load.duration_ns)) break;
    ++arrived;
    delay += ptx::cycle_count() - issued_at[slot];
    issue(slot);
    if (++slot == slots) {
      slot = 0;
      phase ^= 1;
    }
  }
  const uint32_t cycles = ptx::cycle_count() - start_cycles;
  // Shared memory must outlive the copies. That of `slot` has arrived.
  for (int i = 0; i < slots; ++i) {
    if (i != slot) ptx::mbarrier_wait(&full[i], i < slot ? phase ^ 1 : phase);
  }
  atomicAdd(remote ? &load.counts->remote_bytes : &load.counts->local_bytes, arrived * chunk);
  if (!remote) return;
  atomicAdd(&load.counts->delay_cycles, delay);
  atomicAdd(&load.counts->timed_chunks, arrived);
  atomicAdd(&load.counts->clock_cycles, static_cast<unsigned long long>(cycles));
  atomicAdd(&load.counts->clock_time_ns, static_cast<unsigned long long>(elapsed_ns));
}

}  // namespace

void launch_sm90_tier_load(const TierLoad& load, cudaStream_t stream) {
  const int local =
      load.thread_blocks > load.remote_blocks ? kLocalLoadChunks * kLocalLoadChunkBytes : 0;
  const int shared = std::max(local, load.remote_chunk_bytes * load.remote_chunks_in_flight);
  launch(load_tiers_kernel, load,
         {.blocks = load.thread_blocks, .threads = 1, .shared_bytes = static_cast<size_t>(shared)},
         stream);
}

void launch_sm90_tier_reader(const TierRead& read, cudaStream_t stream) {
  const int shared = read.chunk_bytes * read.chunks_in_flight;
  launch(read_tier_kernel, read,
         {.blocks = read.thread_blocks, .threads = 1, .shared_bytes = static_cast<size_t>(shared)},
         stream);
}

}  // namespace dak
