// The one launcher of dak's kernels.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "kernels/cuda_check.h"

namespace dak {

struct LaunchShape {
  int blocks = 1;
  int threads = 1;
  size_t shared_bytes = 0;  // dynamic shared memory of a thread block, as much as the GPU has
  // Start while the previous kernel of the stream is still running (programmatic dependent
  // launch); the kernel itself waits before it touches that one's results. No effect on GPUs that
  // cannot.
  bool overlap_previous = false;
  int cluster_size = 0;  // thread blocks in a cluster, up to 16; 0: a kernel without clusters
};

// Clusters of this shape that the current GPU runs at a time; 0: none fits. Not of `blocks`.
int most_clusters(const void* kernel, const LaunchShape& shape,
                  CallSite where = CallSite::current());

// Enqueues a kernel on the current GPU, which is told beforehand what the shape needs beyond what
// every kernel has: a GPU's attributes of a kernel are its own, so that each GPU of a process is
// told. `arguments` as cudaLaunchKernelExC takes them.
void launch_kernel(const void* kernel, void** arguments, const LaunchShape& shape,
                   cudaStream_t stream, CallSite where);

// For a launcher that has no kernel of a form, such as head_size 7: throws kInternal.
[[noreturn]] void refuse_form(std::string_view kernel, std::string_view what, int64_t value);

template <typename Params>
void launch(void (*kernel)(Params), const Params& params, const LaunchShape& shape,
            cudaStream_t stream, CallSite where = CallSite::current()) {
  void* arguments[] = {const_cast<Params*>(&params)};
  launch_kernel(reinterpret_cast<const void*>(kernel), arguments, shape, stream, where);
}

}  // namespace dak
