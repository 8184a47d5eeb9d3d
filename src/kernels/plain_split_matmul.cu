#include "kernels/launch.h"
#include "kernels/plain_split_matmul.cuh"
#include "kernels/split_forms.h"

namespace dak {
namespace {

template <typename T, int kBatch>
void launch_tile(const PlainSplitMatmulParams& params, int blocks, bool overlap,
                 cudaStream_t stream) {
  using Shape = PlainSplitShape<kBatch>;
  static_assert(Shape::kSharedBytes + sizeof(uint32_t) * Shape::kRows <= 99 * 1024);
  launch(plain_split_matmul<T, Shape>, params,
         {.blocks = blocks,
          .threads = Shape::kThreads,
          .shared_bytes = Shape::kSharedBytes,
          .overlap_previous = overlap},
         stream);
}

}  // namespace

void launch_plain_split_matmul(const PlainSplitMatmulParams& params, DType dtype, int batch_tile,
                               int blocks, bool overlap_previous, cudaStream_t stream) {
  with_split_form(dtype, batch_tile, [&]<typename T, int kBatch>() {
    launch_tile<T, kBatch>(params, blocks, overlap_previous, stream);
  });
}

}  // namespace dak
