#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

#include "kernels/launch.h"
#include "kernels/random_fill.h"
#include "memory/random_bits.h"

namespace dak {
namespace {

constexpr int kStoreBytes = 16;  // of a thread at once: what PCIe writes want
constexpr int kThreads = 256;
constexpr int kMostBlocks = 1056;  // 8 an SM

struct FillParams {
  void* out;
  int64_t count;
  uint64_t first_index;
  RandomKeys keys;
  float centre;
  float scale;
  bool aligned;  // out, to kStoreBytes
};

template <typename T>
__device__ T rounded(float value);
template <>
__device__ float rounded(float value) {
  return value;
}
template <>
__device__ __half rounded(float value) {
  return __float2half_rn(value);
}
template <>
__device__ __nv_bfloat16 rounded(float value) {
  return __float2bfloat16_rn(value);
}

template <typename T>
__global__ void fill_kernel(const __grid_constant__ FillParams params) {
  constexpr int kValues = kStoreBytes / sizeof(T);
  T* out = static_cast<T*>(params.out);
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x * kValues;
  int64_t i = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * kValues;
  for (; i < params.count; i += stride) {
    alignas(kStoreBytes) T values[kValues];
#pragma unroll
    for (int j = 0; j < kValues; ++j) {
      const int32_t step = random_step(params.keys, params.first_index + i + j);
      const float offset = __fmul_rn(static_cast<float>(step), params.scale);
      values[j] = rounded<T>(__fadd_rn(params.centre, offset));
    }
    if (params.aligned && i + kValues <= params.count) {
      *reinterpret_cast<uint4*>(out + i) = *reinterpret_cast<const uint4*>(values);
    } else {
#pragma unroll
      for (int j = 0; j < kValues; ++j) {
        if (i + j < params.count) out[i + j] = values[j];
      }
    }
  }
}

template <typename T>
void fill_as(const FillParams& params, cudaStream_t stream) {
  constexpr int64_t kValuesPerBlock = kThreads * kStoreBytes / sizeof(T);
  const int64_t blocks = (params.count + kValuesPerBlock - 1) / kValuesPerBlock;
  launch(fill_kernel<T>, params,
         {.blocks = static_cast<int>(std::min<int64_t>(blocks, kMostBlocks)), .threads = kThreads},
         stream);
}

}  // namespace

void random_fill(void* out, const RandomValues& values, cudaStream_t stream) {
  if (values.count <= 0) return;
  const FillParams params{.out = out,
                          .count = values.count,
                          .first_index = static_cast<uint64_t>(values.first_index),
                          .keys = random_keys(values.seed),
                          .centre = values.centre,
                          .scale = random_scale(values.half_width),
                          .aligned = reinterpret_cast<uintptr_t>(out) % kStoreBytes == 0};
  switch (values.dtype) {
    case DType::kF32:
      return fill_as<float>(params, stream);
    case DType::kF16:
      return fill_as<__half>(params, stream);
    case DType::kBF16:
      return fill_as<__nv_bfloat16>(params, stream);
    default:
      refuse_dtype("random values", values.dtype);
  }
}

}  // namespace dak
