#include <algorithm>

#include "kernels/launch.h"
#include "kernels/ptx/async_copy.cuh"
#include "kernels/tier_reader.h"

namespace dak {
namespace {

constexpr int kThreads = 256;
constexpr int kChunksInFlight = 4;

// Each thread brings its share of every chunk into shared memory, where nobody reads it.
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

}  // namespace

void launch_plain_tier_reader(const TierRead& read, cudaStream_t stream) {
  const int shared = read.chunk_bytes * kChunksInFlight;
  cuda_check(cudaFuncSetAttribute(plain_read_tier_kernel,
                                  cudaFuncAttributeMaxDynamicSharedMemorySize, shared));
  launch(plain_read_tier_kernel, read,
         {.blocks = read.thread_blocks,
          .threads = kThreads,
          .shared_bytes = static_cast<size_t>(shared)},
         stream);
}

}  // namespace dak
