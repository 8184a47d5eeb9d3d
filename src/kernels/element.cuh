// One element of a plain type, as f32.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "base/dtype.h"

namespace dak {

__device__ inline float load_element(const void* data, int64_t index, Element type) {
  if (type == Element::kF32) return static_cast<const float*>(data)[index];
  if (type == Element::kBF16) {
    return __bfloat162float(static_cast<const __nv_bfloat16*>(data)[index]);
  }
  return __half2float(static_cast<const __half*>(data)[index]);
}

// The same, past L1.
__device__ inline float load_element_l2(const void* data, int64_t index, Element type) {
  if (type == Element::kF32) return __ldcg(static_cast<const float*>(data) + index);
  if (type == Element::kBF16) {
    return __bfloat162float(__ldcg(static_cast<const __nv_bfloat16*>(data) + index));
  }
  return __half2float(__ldcg(static_cast<const __half*>(data) + index));
}

__device__ inline void store_element(void* data, int64_t index, Element type, float value) {
  if (type == Element::kF32) {
    static_cast<float*>(data)[index] = value;
  } else if (type == Element::kBF16) {
    static_cast<__nv_bfloat16*>(data)[index] = __float2bfloat16_rn(value);
  } else {
    static_cast<__half*>(data)[index] = __float2half_rn(value);
  }
}

}  // namespace dak
