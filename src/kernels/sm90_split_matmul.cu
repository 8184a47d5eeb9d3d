#include "kernels/launch.h"
#include "kernels/sm90_split_matmul.cuh"
#include "kernels/sm90_split_matmul.h"

namespace dak {
namespace {

template <typename T, int kBatch>
void launch_tile(const SplitMatmulParams& params, int blocks, bool overlap, cudaStream_t stream) {
  using Shape = SplitMatmulShape<kBatch>;
  static const bool allowed = [] {
    cuda_check(cudaFuncSetAttribute(sm90_split_matmul<T, kBatch>,
                                    cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(Shape::kSharedBytes)));
    return true;
  }();
  if (!allowed) return;
  launch(sm90_split_matmul<T, kBatch>, params,
         {.blocks = blocks,
          .threads = Shape::kThreads,
          .shared_bytes = Shape::kSharedBytes,
          .overlap_previous = overlap},
         stream);
}

template <typename T>
void launch_dtype(const SplitMatmulParams& params, int tile, int blocks, bool overlap,
                  cudaStream_t stream) {
  switch (tile) {
    case 8:
      return launch_tile<T, 8>(params, blocks, overlap, stream);
    case 16:
      return launch_tile<T, 16>(params, blocks, overlap, stream);
    case 32:
      return launch_tile<T, 32>(params, blocks, overlap, stream);
    default:
      return launch_tile<T, 64>(params, blocks, overlap, stream);
  }
}

}  // namespace

void launch_sm90_split_matmul(const SplitMatmulParams& params, DType dtype, int batch_tile,
                              int blocks, bool overlap_previous, cudaStream_t stream) {
  if (dtype == DType::kBF16) {
    launch_dtype<__nv_bfloat16>(params, batch_tile, blocks, overlap_previous, stream);
  } else {
    launch_dtype<__half>(params, batch_tile, blocks, overlap_previous, stream);
  }
}

}  // namespace dak
