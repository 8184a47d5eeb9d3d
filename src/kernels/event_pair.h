// Two CUDA events that a stretch of a stream lies between.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda_check.h"

namespace dak {

struct EventPair {
  EventPair() {
    cuda_check(cudaEventCreate(&begin));
    cuda_check(cudaEventCreate(&end));
  }
  ~EventPair() {
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
  }
  EventPair(const EventPair&) = delete;
  EventPair& operator=(const EventPair&) = delete;

  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;
};

}  // namespace dak
