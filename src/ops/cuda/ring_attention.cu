#include <algorithm>

#include "kernels/launch.h"
#include "ops/cuda/ring_attention.cuh"

namespace dak::cuda {
namespace {

template <typename T, int kHeadSize>
void launch_size(const AttentionParams& params, int sm_count, cudaStream_t stream) {
  using Shape = ring::AttentionShape<kHeadSize>;
  cuda_check(cudaFuncSetAttribute(ring::ring_attention_kernel<T, kHeadSize>,
                                  cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(Shape::kSharedBytes)));
  launch(ring::ring_attention_kernel<T, kHeadSize>, params,
         {.blocks = std::min(sm_count, kMostBlocks),
          .threads = Shape::kThreads,
          .shared_bytes = Shape::kSharedBytes,
          .overlap_previous = params.overlap_previous},
         stream);
}

template <typename T>
void launch_dtype(const AttentionParams& params, int sm_count, cudaStream_t stream) {
  switch (params.kv.head_size) {
    case 16:
      return launch_size<T, 16>(params, sm_count, stream);
    case 32:
      return launch_size<T, 32>(params, sm_count, stream);
    case 64:
      return launch_size<T, 64>(params, sm_count, stream);
    case 80:
      return launch_size<T, 80>(params, sm_count, stream);
    case 96:
      return launch_size<T, 96>(params, sm_count, stream);
    case 128:
      return launch_size<T, 128>(params, sm_count, stream);
    default:
      return launch_size<T, 256>(params, sm_count, stream);
  }
}

}  // namespace

void launch_ring_attention(const AttentionParams& params, int sm_count, cudaStream_t stream) {
  if (params.kv.m == 0) return;
  if (params.kv.kv_dtype == DType::kBF16) {
    launch_dtype<__nv_bfloat16>(params, sm_count, stream);
  } else {
    launch_dtype<__half>(params, sm_count, stream);
  }
}

}  // namespace dak::cuda
