#include <algorithm>

#include "kernels/launch.h"
#include "kernels/ptx/async_copy.cuh"
#include "kernels/ptx/sync.cuh"
#include "kernels/tier_load.h"
#include "kernels/tier_reader.h"

namespace dak {
namespace {

constexpr int kThreads = 256;
constexpr int kChunksInFlight = 4;

// Each thread brings its share of every chunk into shared memory, where it is left.
__global__ void __launch_bounds__(kThreads)
    plain_read_tier_kernel(const __grid_constant__ TierRead read) {
  extern __shared__ __align__(128) std::byte chunks[];
  const int64_t count = read.size_bytes / read.chunk_bytes;
  int slot = 0;
  for (int64_t i = blockIdx.x; i < count; i += gridDim.x) {
    ptx::async_copy_wait<kChunksInFlight - 1>();  // the slot is free
    for (int at = static_cast<int>(threadIdx.x) * 16; at < read.chunk_bytes; at += kThreads * 16) {
      ptx::async_copy(chunks + slot * read.chunk_bytes + at, read.data + i * read.chunk_bytes + at);
    }
    ptx::async_copy_commit();
    slot = (slot + 1) % kChunksInFlight;
  }
  ptx::async_copy_wait<0>();  // shared memory must outlive the copies
}

// Every thread copies, waits and counts its own share of the chunks; its deadline is its own too.
__global__ void __launch_bounds__(kThreads)
    plain_load_tiers_kernel(const __grid_constant__ TierLoad load) {
  extern __shared__ __align__(128) std::byte chunks[];
  const bool remote = static_cast<int>(blockIdx.x) < load.remote_blocks;
  const int rank = remote ? blockIdx.x : blockIdx.x - load.remote_blocks;
  const int blocks = remote ? load.remote_blocks : load.thread_blocks - load.remote_blocks;
  const int64_t chunk = remote ? load.remote_chunk_bytes : kLocalLoadChunkBytes;
  const std::byte* data = remote ? load.remote : load.local;
  const int64_t size = remote ? load.remote_bytes : load.local_bytes;
  const uint64_t start_ns = ptx::global_time_ns();
  const uint32_t start_cycles = ptx::cycle_count();
  uint32_t issued_at[kPlainLoadChunks];
  int64_t at = rank * chunk % size;
  unsigned long long arrived = 0;
  unsigned long long delay = 0;
  uint64_t elapsed_ns = 0;
  for (bool running = true; running;) {
#pragma unroll
    for (int slot = 0; slot < kPlainLoadChunks; ++slot) {
      if (elapsed_ns > 0) {  // not in the first round
        ptx::async_copy_wait<kPlainLoadChunks - 1>();
        arrived += 1;
        delay += ptx::cycle_count() - issued_at[slot];
      }
      issued_at[slot] = ptx::cycle_count();
      for (int64_t i = threadIdx.x * 16; i < chunk; i += kThreads * 16) {
        ptx::async_copy(chunks + slot * chunk + i, data + at + i);
      }
      ptx::async_copy_commit();
      at += blocks * chunk;
      while (at >= size) at -= size;
    }
    elapsed_ns = max(ptx::global_time_ns() - start_ns, uint64_t{1});
    running = elapsed_ns < static_cast<uint64_t>(load.duration_ns);
  }
  const uint32_t cycles = ptx::cycle_count() - start_cycles;
  ptx::async_copy_wait<0>();  // shared memory must outlive the copies
  // Threads without a share of a small chunk wait for nothing and say nothing.
  if (static_cast<int64_t>(threadIdx.x) * 16 >= chunk) return;
  const int64_t share = (chunk - threadIdx.x * 16 + kThreads * 16 - 1) / (kThreads * 16) * 16;
  atomicAdd(remote ? &load.counts->remote_bytes : &load.counts->local_bytes, arrived * share);
  if (!remote) return;
  atomicAdd(&load.counts->delay_cycles, delay);
  atomicAdd(&load.counts->timed_chunks, arrived);
  atomicAdd(&load.counts->clock_cycles, static_cast<unsigned long long>(cycles));
  atomicAdd(&load.counts->clock_time_ns, static_cast<unsigned long long>(elapsed_ns));
}

struct TierWrite {
  uint4* data;
  int64_t count;
};

__global__ void write_tier_kernel(const __grid_constant__ TierWrite write) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const auto value = static_cast<unsigned>(first);
  for (int64_t i = first; i < write.count; i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    write.data[i] = make_uint4(value, value, value, value);
  }
}

struct Nothing {};

__global__ void nothing_kernel(const __grid_constant__ Nothing) {
  ptx::launch_dependents();
  ptx::grid_dependency_wait();
}

}  // namespace

void launch_plain_tier_load(const TierLoad& load, cudaStream_t stream) {
  const int local = load.thread_blocks > load.remote_blocks ? kLocalLoadChunkBytes : 0;
  const int shared = kPlainLoadChunks * std::max(local, load.remote_chunk_bytes);
  launch(plain_load_tiers_kernel, load,
         {.blocks = load.thread_blocks,
          .threads = kThreads,
          .shared_bytes = static_cast<size_t>(shared)},
         stream);
}

void write_tier(std::byte* data, int64_t size_bytes, int thread_blocks, cudaStream_t stream) {
  launch(write_tier_kernel, TierWrite{reinterpret_cast<uint4*>(data), size_bytes / 16},
         {.blocks = thread_blocks, .threads = kThreads}, stream);
}

void launch_nothing(bool overlap, cudaStream_t stream) {
  launch(nothing_kernel, Nothing{}, {.overlap_previous = overlap}, stream);
}

void launch_plain_tier_reader(const TierRead& read, cudaStream_t stream) {
  const int shared = read.chunk_bytes * kChunksInFlight;
  launch(plain_read_tier_kernel, read,
         {.blocks = read.thread_blocks,
          .threads = kThreads,
          .shared_bytes = static_cast<size_t>(shared)},
         stream);
}

}  // namespace dak
