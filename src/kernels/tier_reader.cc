#include "kernels/tier_reader.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/cuda_check.h"
#include "kernels/tier_load.h"

namespace dak {

void read_tier(const TierRead& read, cudaStream_t stream) {
  require(read.kernels != KernelKind::kAuto, "a tier reader without a kind of kernels");
  if (read.kernels == KernelKind::kTma) {
    launch_sm90_tier_reader(read, stream);
  } else {
    launch_plain_tier_reader(read, stream);
  }
}

void load_tiers(const TierLoad& load, KernelKind kernels, cudaStream_t stream) {
  require(kernels != KernelKind::kAuto, "a load of tiers without a kind of kernels");
  if (kernels == KernelKind::kTma) {
    launch_sm90_tier_load(load, stream);
  } else {
    launch_plain_tier_load(load, stream);
  }
}

double measure_read_bandwidth(const TierRead& read, int repeats) {
  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;
  cuda_check(cudaEventCreate(&begin));
  cuda_check(cudaEventCreate(&end));
  float best_ms = 1e30f;
  read_tier(read, nullptr);
  for (int i = 0; i < repeats; ++i) {
    cuda_check(cudaEventRecord(begin));
    read_tier(read, nullptr);
    cuda_check(cudaEventRecord(end));
    cuda_check(cudaEventSynchronize(end));
    float ms = 0;
    cuda_check(cudaEventElapsedTime(&ms, begin, end));
    best_ms = std::min(best_ms, ms);
  }
  cuda_check(cudaEventDestroy(begin));
  cuda_check(cudaEventDestroy(end));
  return static_cast<double>(read.size_bytes) / (best_ms * 1e-3);
}

}  // namespace dak
