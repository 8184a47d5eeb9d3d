#include "kernels/launch.h"
#include "ops/cuda/attention_forms.h"
#include "ops/cuda/paged_attention.cuh"

namespace dak::cuda {
namespace {

template <typename T, int kHeadSize>
void launch_size(const AttentionParams& params, int sm_count, cudaStream_t stream) {
  using Shape = AttentionShape<kHeadSize>;
  constexpr size_t shared = AttentionShared<kHeadSize>::kBytes;
  // As many as run at once; each takes units until none is left.
  constexpr size_t kMultiprocessorBytes = 227 * 1024;
  const int per_sm =
      std::min(Shape::kBlocks, static_cast<int>(kMultiprocessorBytes / (shared + 1024)));
  launch(paged_attention_kernel<T, kHeadSize>, params,
         {.blocks = sm_count * std::max(1, per_sm),
          .threads = kUnitWarps * 32,
          .shared_bytes = shared,
          .overlap_previous = params.overlap_previous},
         stream);
}

}  // namespace

void launch_paged_attention(const AttentionParams& params, int sm_count, cudaStream_t stream) {
  if (params.kv.m == 0) return;
  with_attention_form<16, 32, 64, 80, 96, 128, 256>(
      params.kv, "paged attention",
      [&]<typename T, int kHeadSize>() { launch_size<T, kHeadSize>(params, sm_count, stream); });
}

}  // namespace dak::cuda
