// How a kernel that reads nothing ahead begins.
#pragma once

#include "kernels/ptx/sync.cuh"

namespace dak {

// The next matmul may already fill its rings with weights (they are no kernel's result); what the
// kernels before have written is there from here on.
__device__ inline void begin_dependent() {
  ptx::launch_dependents();
  ptx::grid_dependency_wait();
}

}  // namespace dak
