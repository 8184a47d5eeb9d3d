// The instantiations of a split matmul kernel; for .cu files.
#pragma once

#include "kernels/half_types.h"
#include "kernels/launch.h"

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
      case 64:
        return launch.template operator()<T, 64>();
      default:
        refuse_form("split matmul", "batch tile", batch_tile);
    }
  };
  with_half_type(dtype, "split matmul", of_type);
}

}  // namespace dak
