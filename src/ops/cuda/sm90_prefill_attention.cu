#include "kernels/launch.h"
#include "ops/cuda/sm90_prefill_attention.cuh"

namespace dak::cuda {
namespace {

template <typename T, int kHeadSize>
void launch_size(const PrefillParams& params, int sm_count, cudaStream_t stream) {
  using Shape = PrefillShape<kHeadSize>;
  cuda_check(cudaFuncSetAttribute(sm90_prefill_attention<T, kHeadSize>,
                                  cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(Shape::kSharedBytes)));
  // Those without a unit may be readers.
  const int blocks = params.tiers > 0 ? sm_count : std::min(sm_count, params.plan.units);
  launch(sm90_prefill_attention<T, kHeadSize>, params,
         {.blocks = blocks,
          .threads = Shape::kThreads,
          .shared_bytes = Shape::kSharedBytes,
          .overlap_previous = true},
         stream);
}

template <typename T>
void launch_dtype(const PrefillParams& params, int sm_count, cudaStream_t stream) {
  switch (params.kv.head_size) {
    case 64:
      return launch_size<T, 64>(params, sm_count, stream);
    case 80:
      return launch_size<T, 80>(params, sm_count, stream);
    case 96:
      return launch_size<T, 96>(params, sm_count, stream);
    default:
      return launch_size<T, 128>(params, sm_count, stream);
  }
}

}  // namespace

void launch_prefill_attention(const PrefillParams& params, int sm_count, cudaStream_t stream) {
  if (params.plan.units == 0) return;
  if (params.kv.kv_dtype == DType::kBF16) {
    launch_dtype<__nv_bfloat16>(params, sm_count, stream);
  } else {
    launch_dtype<__half>(params, sm_count, stream);
  }
}

}  // namespace dak::cuda
