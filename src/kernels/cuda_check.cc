#include "kernels/cuda_check.h"

#include <string>

#include "base/error.h"

namespace dak {

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

bool has_sm90(int ordinal) {
  int major = 0;
  int minor = 0;
  cuda_check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, ordinal));
  cuda_check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, ordinal));
  return major == 9 && minor == 0;
}

}  // namespace dak
