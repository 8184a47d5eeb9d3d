// Tensor maps for the copy engine, encoded through the driver without linking libcuda.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "base/dtype.h"

namespace dak {

struct TensorMap2d {
  const void* data;    // device address, 16-byte aligned
  DType dtype;         // bf16 or f16
  int64_t rows;        // outer
  int64_t cols;        // inner; what lies outside is read as zero
  int64_t row_stride;  // elements, a multiple of 8
  int64_t box_rows;    // at most 256
  int64_t box_cols;    // 64: one 128-byte swizzle row
};

// Throws kInvalidArgument naming every dimension, stride, box and the address.
CUtensorMap encode_tensor_map(const TensorMap2d& map);

}  // namespace dak
