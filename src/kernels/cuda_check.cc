#include "kernels/cuda_check.h"

#include <string>

#include "base/error.h"

namespace dak {
namespace {

ComputeCapability capability_of(int ordinal) {
  ComputeCapability capability;
  cuda_check(cudaDeviceGetAttribute(&capability.major, cudaDevAttrComputeCapabilityMajor, ordinal));
  cuda_check(cudaDeviceGetAttribute(&capability.minor, cudaDevAttrComputeCapabilityMinor, ordinal));
  return capability;
}

}  // namespace

void cuda_check(cudaError_t status, CallSite where) {
  if (status == cudaSuccess) return;
  const bool memory = status == cudaErrorMemoryAllocation;
  throw Error(memory ? ErrorCode::kResourceExhausted : ErrorCode::kIo,
              {.where = std::string(where.file) + ":" + std::to_string(where.line),
               .field = "CUDA",
               .value = cudaGetErrorName(status),
               .problem = cudaGetErrorString(status),
               .fix = {}});
}

bool has_cuda_device() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) {
    cudaGetLastError();  // forget it: having no GPU is no error
    return false;
  }
  return count > 0;
}

const char* built_architectures() { return DAK_CUDA_ARCHITECTURES; }

KernelSupport supported_kernels(int ordinal) {
  return kernel_support(built_architectures(), capability_of(ordinal));
}

bool launches_overlap() {
  int ordinal = 0;
  cuda_check(cudaGetDevice(&ordinal));
  return capability_of(ordinal).major >= 9;
}

}  // namespace dak
