// The part of cuBLASLt that mode uva uses, loaded at run time: the binary starts without it.
#pragma once

#include <cuda_runtime_api.h>
#include <library_types.h>

#include <array>
#include <cstddef>
#include <cstdint>

namespace dak {

// As cublasLt.h has them; stable over versions 12 and 13.
namespace cublas {

using Status = int;  // 0: success
using Handle = struct OpaqueHandle*;
using MatmulDesc = struct OpaqueMatmulDesc*;
using MatrixLayout = struct OpaqueMatrixLayout*;
using Preference = struct OpaquePreference*;

inline constexpr int kCompute32F = 68;
inline constexpr int32_t kTranspose = 1;
inline constexpr int kDescTransposeA = 3;
inline constexpr int kPreferenceWorkspaceBytes = 1;
// A, B, C, D
inline constexpr std::array<int, 4> kPreferenceAlignmentBytes{5, 6, 7, 8};

struct Algorithm {
  std::array<uint64_t, 8> data;
};
struct HeuristicResult {
  Algorithm algorithm;
  size_t workspace_bytes;
  Status status;
  float waves;
  std::array<int, 4> reserved;
};

}  // namespace cublas

struct CublasLt {
  // Throws kUnsupported when there is no such library.
  static const CublasLt& get();

  cublas::Status (*create)(cublas::Handle*);
  cublas::Status (*destroy)(cublas::Handle);
  cublas::Status (*desc_create)(cublas::MatmulDesc*, int compute, cudaDataType_t scale);
  cublas::Status (*desc_destroy)(cublas::MatmulDesc);
  cublas::Status (*desc_set)(cublas::MatmulDesc, int attribute, const void*, size_t);
  cublas::Status (*layout_create)(cublas::MatrixLayout*, cudaDataType_t, uint64_t rows,
                                  uint64_t cols, int64_t leading);
  cublas::Status (*layout_destroy)(cublas::MatrixLayout);
  cublas::Status (*preference_create)(cublas::Preference*);
  cublas::Status (*preference_destroy)(cublas::Preference);
  cublas::Status (*preference_set)(cublas::Preference, int attribute, const void*, size_t);
  cublas::Status (*heuristic)(cublas::Handle, cublas::MatmulDesc, cublas::MatrixLayout a,
                              cublas::MatrixLayout b, cublas::MatrixLayout c,
                              cublas::MatrixLayout d, cublas::Preference, int wanted,
                              cublas::HeuristicResult*, int* found);
  cublas::Status (*matmul)(cublas::Handle, cublas::MatmulDesc, const void* alpha, const void* a,
                           cublas::MatrixLayout, const void* b, cublas::MatrixLayout,
                           const void* beta, const void* c, cublas::MatrixLayout, void* d,
                           cublas::MatrixLayout, const cublas::Algorithm*, void* workspace,
                           size_t workspace_bytes, cudaStream_t);
};

}  // namespace dak
