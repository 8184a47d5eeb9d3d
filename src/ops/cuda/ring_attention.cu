#include <algorithm>

#include "kernels/launch.h"
#include "ops/cuda/attention_forms.h"
#include "ops/cuda/ring_attention.cuh"

namespace dak::cuda {
namespace {

template <typename T, int kHeadSize>
void launch_size(const AttentionParams& params, int sm_count, cudaStream_t stream) {
  using Shape = ring::AttentionShape<kHeadSize>;
  launch(ring::ring_attention_kernel<T, kHeadSize>, params,
         {.blocks = std::min(sm_count, kMostBlocks),
          .threads = Shape::kThreads,
          .shared_bytes = Shape::kSharedBytes,
          .overlap_previous = params.overlap_previous},
         stream);
}

}  // namespace

void launch_ring_attention(const AttentionParams& params, int sm_count, cudaStream_t stream) {
  if (params.kv.m == 0) return;
  with_attention_form<16, 32, 64, 80, 96, 128, 256>(
      params.kv, "ring attention",
      [&]<typename T, int kHeadSize>() { launch_size<T, kHeadSize>(params, sm_count, stream); });
}

}  // namespace dak::cuda
