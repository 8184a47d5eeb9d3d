#include "kernels/launch.h"
#include "kernels/plain_split_matmul.cuh"

namespace dak {
namespace {

template <typename T, int kBatch>
void launch_tile(const PlainSplitMatmulParams& params, int blocks, bool overlap,
                 cudaStream_t stream) {
  using Shape = PlainSplitShape<kBatch>;
  static_assert(Shape::kSharedBytes + sizeof(uint32_t) * Shape::kRows <= 99 * 1024);
  cuda_check(cudaFuncSetAttribute(plain_split_matmul<T, Shape>,
                                  cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(Shape::kSharedBytes)));
  launch(plain_split_matmul<T, Shape>, params,
         {.blocks = blocks,
          .threads = Shape::kThreads,
          .shared_bytes = Shape::kSharedBytes,
          .overlap_previous = overlap},
         stream);
}

template <typename T>
void launch_dtype(const PlainSplitMatmulParams& params, int tile, int blocks, bool overlap,
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

void launch_plain_split_matmul(const PlainSplitMatmulParams& params, DType dtype, int batch_tile,
                               int blocks, bool overlap_previous, cudaStream_t stream) {
  if (dtype == DType::kBF16) {
    launch_dtype<__nv_bfloat16>(params, batch_tile, blocks, overlap_previous, stream);
  } else {
    launch_dtype<__half>(params, batch_tile, blocks, overlap_previous, stream);
  }
}

}  // namespace dak
