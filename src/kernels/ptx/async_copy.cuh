// cp.async (sm_80 and later): 16 bytes from global to shared memory, past registers and L1. One
// instruction per wrapper.
#pragma once

#include <cstdint>

#include "kernels/ptx/mbarrier.cuh"

namespace dak::ptx {

// Both addresses 16-byte aligned.
__device__ inline void async_copy(void* target, const void* source) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(target)),
               "l"(source)
               : "memory");
}

// Reads the first `bytes` (0..16) of the source and writes zeros for the others.
__device__ inline void async_copy_zero_fill(void* target, const void* source, uint32_t bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(target)),
               "l"(source), "r"(bytes)
               : "memory");
}

// Makes one group of this thread's copies since the last commit; of none, too.
__device__ inline void async_copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most `kPending` of this thread's latest groups are under way.
template <int kPending>
__device__ inline void async_copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

}  // namespace dak::ptx
