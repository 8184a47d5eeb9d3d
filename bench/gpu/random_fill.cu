#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "gpu/random_fill.h"
#include "kernels/launch.h"

namespace dak {
namespace {

struct FillParams {
  uint16_t* out;
  int64_t count;
  uint32_t seed;
  bool bf16;
};

__global__ void fill_kernel(const __grid_constant__ FillParams params) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; i < params.count;
       i += stride) {
    // Murmur3's finaliser over the counter.
    uint32_t h = static_cast<uint32_t>(i) ^ static_cast<uint32_t>(i >> 32) * 0x9e3779b9u ^
                 params.seed * 0x85ebca6bu;
    h = (h ^ h >> 16) * 0x85ebca6bu;
    h = (h ^ h >> 13) * 0xc2b2ae35u;
    h ^= h >> 16;
    const float value = static_cast<float>(h) * 0x1p-31f - 1.0f;
    params.out[i] = params.bf16 ? __bfloat16_as_ushort(__float2bfloat16_rn(value))
                                : __half_as_ushort(__float2half_rn(value));
  }
}

}  // namespace

void random_fill(void* out, int64_t count, DType dtype, uint32_t seed, cudaStream_t stream) {
  launch(fill_kernel, FillParams{static_cast<uint16_t*>(out), count, seed, dtype == DType::kBF16},
         {.blocks = 1056, .threads = 256}, stream);
}

}  // namespace dak
