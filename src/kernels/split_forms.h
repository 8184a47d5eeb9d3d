// The instantiations of a split matmul kernel; for .cu files.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "base/dtype.h"

namespace dak {

// Calls launch.operator()<T, kBatch>() for a 16-bit type and a batch tile of 8, 16, 32 or 64.
template <typename Launch>
void with_split_form(DType dtype, int batch_tile, const Launch& launch) {
  const auto of_type = [&]<typename T>() {
    switch (batch_tile) {
      case 8:
        return launch.template operator()<T, 8>();
      case 16:
        return launch.template operator()<T, 16>();
      case 32:
        return launch.template operator()<T, 32>();
      default:
        return launch.template operator()<T, 64>();
    }
  };
  if (dtype == DType::kBF16) return of_type.template operator()<__nv_bfloat16>();
  of_type.template operator()<__half>();
}

}  // namespace dak
