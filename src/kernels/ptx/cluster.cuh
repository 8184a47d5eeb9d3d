// Clusters of thread blocks: ranks, barriers, copies to several blocks at once; bulk stores;
// registers moved between warpgroups. One instruction per wrapper (sm_90a).
#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/ptx/mbarrier.cuh"

namespace dak::ptx {

__device__ inline uint32_t cluster_rank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

__device__ inline uint32_t cluster_size() {
  uint32_t size;
  asm volatile("mov.u32 %0, %%cluster_nctarank;" : "=r"(size));
  return size;
}

// All threads of the cluster that have not exited; what they wrote before is visible afterwards.
__device__ inline void cluster_arrive() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
__device__ inline void cluster_wait() {
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// Arrives at the barrier that lies at the same place in thread block `rank` of the cluster. Says
// that this thread's reads are done; it orders no writes for the others (.release.cluster would, by
// a fence of the whole GPU that takes as long as a stage's products).
__device__ inline void mbarrier_arrive_at(Barrier* barrier, uint32_t rank) {
  asm volatile(
      "{\n\t.reg .b32 remote;\n\t"
      "mapa.shared::cluster.u32 remote, %0, %1;\n\t"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n\t}" ::"r"(shared_address(barrier)),
      "r"(rank)
      : "memory");
}

// bulk_copy to the same place in every thread block whose bit is set in `ranks`; completes on the
// barrier at the same place in each.
__device__ inline void bulk_copy_multicast(void* target, const void* source, uint32_t bytes,
                                           Barrier* barrier, uint16_t ranks) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
      "[%0], [%1], %2, [%3], %4;" ::"r"(shared_address(target)),
      "l"(source), "r"(bytes), "r"(shared_address(barrier)), "h"(ranks)
      : "memory");
}

// tensor_copy_2d, likewise.
__device__ inline void tensor_copy_2d_multicast(void* target, const CUtensorMap* map,
                                                int32_t column, int32_t row, Barrier* barrier,
                                                uint16_t ranks) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(shared_address(target)),
      "l"(map), "r"(column), "r"(row), "r"(shared_address(barrier)), "h"(ranks)
      : "memory");
}

// `bytes` (a multiple of 16) from shared memory to `target`, both 16-byte aligned.
__device__ inline void bulk_store(void* target, const void* source, uint32_t bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(target),
               "r"(shared_address(source)), "r"(bytes)
               : "memory");
}
__device__ inline void bulk_store_commit() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
// Until this thread's bulk stores have been written.
__device__ inline void bulk_store_wait() {
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

// Adds to a word that another SM polls; what this thread wrote before is visible to who sees it.
__device__ inline void add_release(uint32_t* word, uint32_t value) {
  asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(word), "r"(value) : "memory");
}

// target[0..3] += v in L2; `target` 16-byte aligned. Denormal numbers count as 0.
__device__ inline void add_to_global(float* target, float4 v) {
  asm volatile("red.relaxed.gpu.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(target), "f"(v.x),
               "f"(v.y), "f"(v.z), "f"(v.w)
               : "memory");
}

// Registers of each thread of this warpgroup from here on.
template <int kRegisters>
__device__ inline void release_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

}  // namespace dak::ptx
