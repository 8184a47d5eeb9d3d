#include "kernels/launch.h"
#include "ops/cuda/paged_attention.cuh"

namespace dak::cuda {
namespace {

template <typename T, int kHeadSize>
void launch_size(const AttentionParams& params, int sm_count, cudaStream_t stream) {
  using Shape = AttentionShape<kHeadSize>;
  constexpr size_t shared = AttentionShared<kHeadSize>::kBytes;
  cuda_check(cudaFuncSetAttribute(paged_attention_kernel<T, kHeadSize>,
                                  cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(shared)));
  // As many as run at once; each takes units until none is left.
  constexpr size_t kMultiprocessorBytes = 227 * 1024;
  const int per_sm =
      std::min(Shape::kBlocks, static_cast<int>(kMultiprocessorBytes / (shared + 1024)));
  launch(paged_attention_kernel<T, kHeadSize>, params,
         {.blocks = sm_count * std::max(1, per_sm),
          .threads = kUnitWarps * 32,
          .shared_bytes = shared,
          .overlap_previous = true},
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

void launch_paged_attention(const AttentionParams& params, int sm_count, cudaStream_t stream) {
  if (params.kv.m == 0) return;
  if (params.kv.kv_dtype == DType::kBF16) {
    launch_dtype<__nv_bfloat16>(params, sm_count, stream);
  } else {
    launch_dtype<__half>(params, sm_count, stream);
  }
}

}  // namespace dak::cuda
