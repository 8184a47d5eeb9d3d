// The one launcher of dak's kernels.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

#include "kernels/cuda_check.h"

namespace dak {

struct LaunchShape {
  int blocks = 1;
  int threads = 1;
  size_t shared_bytes = 0;
  // Start while the previous kernel of the stream is still running (programmatic dependent
  // launch); the kernel itself waits before it touches that one's results. No effect on GPUs that
  // cannot.
  bool overlap_previous = false;
  // All thread blocks run at the same time, or the launch fails (a cooperative launch).
  bool all_at_once = false;
  int cluster_size = 0;  // thread blocks in a cluster; 0: a kernel without clusters
};

template <typename Params>
void launch(void (*kernel)(Params), const Params& params, const LaunchShape& shape,
            cudaStream_t stream, CallSite where = CallSite::current()) {
  cudaLaunchAttribute attributes[2] = {};
  unsigned count = 0;
  if (shape.all_at_once) {
    attributes[count].id = cudaLaunchAttributeCooperative;
    attributes[count++].val.cooperative = 1;
  } else if (shape.overlap_previous && launches_overlap()) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count++].val.programmaticStreamSerializationAllowed = 1;
  }
  if (shape.cluster_size > 0) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count++].val.clusterDim = {static_cast<unsigned>(shape.cluster_size), 1, 1};
  }
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(shape.blocks));
  config.blockDim = dim3(static_cast<unsigned>(shape.threads));
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = count;
  void* arguments[] = {const_cast<Params*>(&params)};
  cuda_check(cudaLaunchKernelExC(&config, reinterpret_cast<const void*>(kernel), arguments), where);
}

}  // namespace dak
