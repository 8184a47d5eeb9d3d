#include "kernels/launch.h"
#include "kernels/ptx/bulk_copy.cuh"
#include "kernels/ptx/sync.cuh"
#include "kernels/tier_reader.h"

namespace dak {
namespace {

constexpr int kMaxChunksInFlight = 64;

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

}  // namespace

void launch_sm90_tier_reader(const TierRead& read, cudaStream_t stream) {
  const int shared = read.chunk_bytes * read.chunks_in_flight;
  cuda_check(
      cudaFuncSetAttribute(read_tier_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared));
  launch(read_tier_kernel, read,
         {.blocks = read.thread_blocks, .threads = 1, .shared_bytes = static_cast<size_t>(shared)},
         stream);
}

}  // namespace dak
