// cuBLASLt on a row-major weight in local memory: what a resident GEMM is measured against.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

#include "kernels/device_buffer.h"
#include "ops/cuda/cublas_lt.h"

namespace dak::bench {

// out[tokens, rows] = x[tokens, cols] w[rows, cols]^T, all bf16 and dense, f32 sums.
class LtMatmul {
 public:
  // Asks for cuBLASLt's best `wanted` algorithms.
  LtMatmul(int64_t tokens, int64_t rows, int64_t cols, int wanted);
  ~LtMatmul();
  LtMatmul(const LtMatmul&) = delete;
  LtMatmul& operator=(const LtMatmul&) = delete;

  size_t algorithms() const { return found_.size(); }
  void enqueue(size_t algorithm, const void* w, const void* x, void* out, cudaStream_t stream);

 private:
  const CublasLt& lt_;
  cublas::Handle handle_ = nullptr;
  cublas::MatmulDesc desc_ = nullptr;
  cublas::MatrixLayout weight_ = nullptr;
  cublas::MatrixLayout x_ = nullptr;
  cublas::MatrixLayout out_ = nullptr;
  std::vector<cublas::HeuristicResult> found_;
  DeviceBuffer workspace_;
};

}  // namespace dak::bench
