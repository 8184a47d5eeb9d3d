// Mode uva: cuBLASLt on row-major weights where they lie, host memory included, as vLLM's uva
// offload does it.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>
#include <tuple>

#include "memory/tiered_tensor.h"
#include "ops/cuda/cublas_lt.h"

namespace dak {

class UvaMatmul {
 public:
  // `memory` on the device: kUvaWorkspaceBytes for cuBLASLt, the rest for sums.
  UvaMatmul(std::byte* memory, int64_t size_bytes, cudaStream_t stream);
  ~UvaMatmul();
  UvaMatmul(const UvaMatmul&) = delete;
  UvaMatmul& operator=(const UvaMatmul&) = delete;

  // Where products go that are not finished yet: [rows_of_sums(n), n] f32.
  float* sums() const { return sums_; }
  int64_t rows_of_sums(int64_t n) const;

  // Enqueues out[m, rows] = x[m, cols] w^T with f32 sums. x: the weight's type, rows `x_stride`
  // elements apart, 16-byte aligned. The algorithm is cuBLASLt's choice, made once a shape.
  void multiply(const TieredTensor& w, const std::byte* x, int64_t x_stride, int64_t m, float* out);

 private:
  struct Prepared {
    cublas::MatmulDesc desc = nullptr;
    cublas::MatrixLayout weight = nullptr;
    cublas::MatrixLayout x = nullptr;
    cublas::MatrixLayout out = nullptr;
    cublas::Algorithm algorithm{};
    bool chosen = false;
  };
  // rows, cols, x_stride, m, dtype
  using Shape = std::tuple<int64_t, int64_t, int64_t, int64_t, DType>;

  const Prepared& prepared(const Shape& shape);
  void choose_algorithm(Prepared& made, const Shape& shape) const;

  const CublasLt& lt_;
  std::byte* workspace_;
  float* sums_;
  int64_t sums_bytes_;
  cudaStream_t stream_;
  cublas::Handle handle_ = nullptr;
  std::map<Shape, Prepared> prepared_;
};

}  // namespace dak
