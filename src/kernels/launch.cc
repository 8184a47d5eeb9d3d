#include "kernels/launch.h"

#include <array>
#include <map>
#include <mutex>
#include <utility>

#include "base/error.h"

namespace dak {
namespace {

constexpr int kPortableClusterSize = 8;  // what every GPU with clusters runs unasked

// What a GPU has been told of a kernel.
struct Allowed {
  size_t shared_bytes = 0;
  bool large_clusters = false;
};

// Of all GPUs that this process launches on, by ordinal. Never lowered: two threads may launch one
// kernel in two shapes.
class AllowedKernels {
 public:
  void allow(const void* kernel, const LaunchShape& shape, CallSite where) {
    const bool large_clusters = shape.cluster_size > kPortableClusterSize;
    if (shape.shared_bytes == 0 && !large_clusters) return;
    int ordinal = 0;
    cuda_check(cudaGetDevice(&ordinal), where);
    const std::lock_guard lock(mutex_);
    Allowed& allowed = kernels_[{ordinal, kernel}];
    if (allowed.shared_bytes < shape.shared_bytes) {
      cuda_check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      static_cast<int>(shape.shared_bytes)),
                 where);
      allowed.shared_bytes = shape.shared_bytes;
    }
    if (large_clusters && !allowed.large_clusters) {
      cuda_check(cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1),
                 where);
      allowed.large_clusters = true;
    }
  }

 private:
  std::mutex mutex_;
  std::map<std::pair<int, const void*>, Allowed> kernels_;
};

void allow(const void* kernel, const LaunchShape& shape, CallSite where) {
  static AllowedKernels kernels;
  kernels.allow(kernel, shape, where);
}

// A launch as CUDA takes it; it points into itself.
class Launch {
 public:
  explicit Launch(const LaunchShape& shape) {
    if (shape.overlap_previous && launches_overlap()) {
      cudaLaunchAttribute& overlap = add(cudaLaunchAttributeProgrammaticStreamSerialization);
      overlap.val.programmaticStreamSerializationAllowed = 1;
    }
    if (shape.cluster_size > 0) {
      cudaLaunchAttribute& cluster = add(cudaLaunchAttributeClusterDimension);
      cluster.val.clusterDim = {static_cast<unsigned>(shape.cluster_size), 1, 1};
    }
    config_.gridDim = dim3(static_cast<unsigned>(shape.blocks));
    config_.blockDim = dim3(static_cast<unsigned>(shape.threads));
    config_.dynamicSmemBytes = shape.shared_bytes;
    config_.attrs = attributes_.data();
  }
  Launch(const Launch&) = delete;
  Launch& operator=(const Launch&) = delete;

  cudaLaunchConfig_t& config() { return config_; }

 private:
  cudaLaunchAttribute& add(cudaLaunchAttributeID id) {
    cudaLaunchAttribute& attribute = attributes_[config_.numAttrs++];
    attribute.id = id;
    return attribute;
  }

  std::array<cudaLaunchAttribute, 2> attributes_{};
  cudaLaunchConfig_t config_{};
};

}  // namespace

int most_clusters(const void* kernel, const LaunchShape& shape, CallSite where) {
  allow(kernel, shape, where);
  LaunchShape one = shape;
  one.blocks = shape.cluster_size;
  Launch launch(one);
  int clusters = 0;
  cuda_check(cudaOccupancyMaxActiveClusters(&clusters, kernel, &launch.config()), where);
  return clusters;
}

void refuse_form(std::string_view kernel, std::string_view what, int64_t value) {
  throw_internal(fmt::format("{}: there is no kernel of {} {}", kernel, what, value));
}

void launch_kernel(const void* kernel, void** arguments, const LaunchShape& shape,
                   cudaStream_t stream, CallSite where) {
  allow(kernel, shape, where);
  Launch launch(shape);
  launch.config().stream = stream;
  cuda_check(cudaLaunchKernelExC(&launch.config(), kernel, arguments), where);
}

}  // namespace dak
