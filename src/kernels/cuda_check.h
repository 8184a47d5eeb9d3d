// CUDA calls that fail become dak::Error, with the call's place in the source.
#pragma once

#include <cuda_runtime_api.h>

#include "base/call_site.h"
#include "kernels/kernel_kind.h"

namespace dak {

// Throws kResourceExhausted for memory that is short and kIo for any other failure, naming CUDA's
// reason and the caller's file and line.
void cuda_check(cudaError_t status, CallSite where = CallSite::current());

// False where there is no driver or no device, without an error.
bool has_cuda_device();

// What this build was compiled for: "90a", "80,90a".
const char* built_architectures();

// The kernels that this build has for device `ordinal`.
KernelSupport supported_kernels(int ordinal);

// Whether a kernel of the current device may start before the one ahead of it has ended
// (programmatic dependent launch): from compute capability 9.0 on.
bool launches_overlap();

}  // namespace dak
