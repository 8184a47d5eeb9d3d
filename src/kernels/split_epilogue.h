// What happens to a finished sum of a split matmul before it is stored; no device code.
#pragma once

#include <cstdint>

#include "base/activation.h"
#include "base/dtype.h"

namespace dak {

struct SplitEpilogue {
  void* out;             // [batch, outputs] out_dtype; outputs = rows, or rows / 2 if gated
  const void* residual;  // [batch, outputs] out_dtype, added last; may be `out`; or null
  const float* bias;     // [rows], added first; or null
  int64_t out_stride;    // elements between rows of out and of residual
  int32_t rows;
  int32_t batch;
  Element out_dtype;
  Activation activation;
  // Rows alternate 8 of gate, 8 of up (memory/weight_layout.h): a thread holds both
  // factors, because fragment rows r and r + 8 are its own.
  bool gated;
};

}  // namespace dak
