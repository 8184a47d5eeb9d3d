// What operations need to run on a GPU: a stream, the state of its links and scratch memory. No
// CUDA types here, and a build without CUDA has the functions too: there they throw kUnsupported.
#pragma once

#include <memory>

namespace dak {

class CudaBackend;  // ops/cuda/state.h

struct CudaBackendDeleter {
  void operator()(CudaBackend* backend) const;
};
using CudaBackendPtr = std::unique_ptr<CudaBackend, CudaBackendDeleter>;

// For OpContext::cuda, with a stream of its own on GPU `ordinal`, which must have sm_90. Weights
// that operations have seen must keep their places while the backend lives.
CudaBackendPtr make_cuda_backend(int ordinal);

}  // namespace dak
