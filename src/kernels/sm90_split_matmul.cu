#include "kernels/launch.h"
#include "kernels/sm90_split_matmul.cuh"
#include "kernels/sm90_split_matmul.h"
#include "kernels/split_forms.h"

namespace dak {
namespace {

template <typename T, int kBatch>
void launch_tile(const SplitMatmulParams& params, int blocks, bool overlap, cudaStream_t stream) {
  using Shape = SplitMatmulShape<kBatch>;
  launch(sm90_split_matmul<T, kBatch>, params,
         {.blocks = blocks,
          .threads = Shape::kThreads,
          .shared_bytes = Shape::kSharedBytes,
          .overlap_previous = overlap},
         stream);
}

}  // namespace

void launch_sm90_split_matmul(const SplitMatmulParams& params, DType dtype, int batch_tile,
                              int blocks, bool overlap_previous, cudaStream_t stream) {
  with_split_form(dtype, batch_tile, [&]<typename T, int kBatch>() {
    launch_tile<T, kBatch>(params, blocks, overlap_previous, stream);
  });
}

}  // namespace dak
