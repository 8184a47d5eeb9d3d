// The 16-bit types of products and of attention as CUDA's; for .cu files.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <string_view>

#include "base/dtype.h"

namespace dak {

// Calls use.operator()<T>() for bf16 or f16. Throws kUnsupported naming `where` for other types.
template <typename Use>
auto with_half_type(DType dtype, std::string_view where, const Use& use) {
  switch (dtype) {
    case DType::kBF16:
      return use.template operator()<__nv_bfloat16>();
    case DType::kF16:
      return use.template operator()<__half>();
    default:
      refuse_dtype(where, dtype, "f16 and bf16");
  }
}
template <typename Use>
auto with_half_type(Element element, std::string_view where, const Use& use) {
  return with_half_type(dtype_of(element), where, use);
}

}  // namespace dak
