#include "kernels/launch.h"
#include "ops/cuda/attention_forms.h"
#include "ops/cuda/sm90_prefill_attention.cuh"

namespace dak::cuda {
namespace {

template <typename T, int kHeadSize>
void launch_size(const PrefillParams& params, int sm_count, cudaStream_t stream) {
  using Shape = PrefillShape<kHeadSize>;
  // Those without a unit may be readers.
  const int blocks = params.tiers > 0 ? sm_count : std::min(sm_count, params.plan.units);
  launch(sm90_prefill_attention<T, kHeadSize>, params,
         {.blocks = blocks,
          .threads = Shape::kThreads,
          .shared_bytes = Shape::kSharedBytes,
          .overlap_previous = params.overlap_previous},
         stream);
}

}  // namespace

void launch_prefill_attention(const PrefillParams& params, int sm_count, cudaStream_t stream) {
  if (params.plan.units == 0) return;
  with_attention_form<64, 80, 96, 128>(
      params.kv, "prefill attention",
      [&]<typename T, int kHeadSize>() { launch_size<T, kHeadSize>(params, sm_count, stream); });
}

}  // namespace dak::cuda
