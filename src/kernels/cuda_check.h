// CUDA calls that fail become dak::Error, with the call's place in the source.
#pragma once

#include <cuda_runtime_api.h>

#include "base/call_site.h"

namespace dak {

// Throws kResourceExhausted for memory that is short and kIo for any other failure, naming CUDA's
// reason and the caller's file and line.
void cuda_check(cudaError_t status, CallSite where = CallSite::current());

// False where there is no driver or no device, without an error.
bool has_cuda_device();

// Whether device `ordinal` runs the sm_90a kernels of this folder.
bool has_sm90(int ordinal);

}  // namespace dak
