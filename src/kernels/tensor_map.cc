#include "kernels/tensor_map.h"

#include <cudaTypedefs.h>
#include <cuda_runtime_api.h>
#include <fmt/core.h>

#include "base/error.h"
#include "kernels/cuda_check.h"

namespace dak {
namespace {

PFN_cuTensorMapEncodeTiled_v12000 driver_encode() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  cuda_check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                              cudaEnableDefault, &found));
  if (found != cudaDriverEntryPointSuccess || function == nullptr) {
    throw_unsupported("CUDA driver", "cuTensorMapEncodeTiled", {}, "not offered by this driver",
                      "install a driver for CUDA 12 or newer");
  }
  return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(function);
}

}  // namespace

CUtensorMap encode_tensor_map(const TensorMap2d& map) {
  static const auto encode = driver_encode();
  if (map.dtype != DType::kF16 && map.dtype != DType::kBF16) {
    refuse_dtype("tensor map", map.dtype, "f16 and bf16");
  }
  const cuuint64_t dims[] = {static_cast<cuuint64_t>(map.cols), static_cast<cuuint64_t>(map.rows)};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(map.row_stride) * 2};
  const cuuint32_t box[] = {static_cast<cuuint32_t>(map.box_cols),
                            static_cast<cuuint32_t>(map.box_rows)};
  const cuuint32_t steps[] = {1, 1};
  CUtensorMap encoded;
  const CUresult status =
      encode(&encoded,
             map.dtype == DType::kBF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                       : CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
             2, const_cast<void*>(map.data), dims, strides, box, steps,
             CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS) {
    throw_invalid("tensor map", name(map.dtype),
                  fmt::format("[{}, {}] stride {} box [{}, {}] at {}", map.rows, map.cols,
                              map.row_stride, map.box_rows, map.box_cols, map.data),
                  fmt::format("the driver refused it with code {}", static_cast<int>(status)));
  }
  return encoded;
}

}  // namespace dak
