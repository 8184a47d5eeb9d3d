#include "kernels/launch.h"
#include "ops/cuda/decode_step.cuh"

namespace dak::cuda {
namespace {

template <typename T, int kBatch, int kHeadSize>
void launch_form(const StepParams& params, int sm_count, cudaStream_t stream) {
  using Shape = StepShape<kBatch, kHeadSize>;
  cuda_check(cudaFuncSetAttribute(decode_step_kernel<T, kBatch, kHeadSize>,
                                  cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(Shape::kSharedBytes)));
  launch(decode_step_kernel<T, kBatch, kHeadSize>, params,
         {.blocks = sm_count,
          .threads = Shape::kThreads,
          .shared_bytes = Shape::kSharedBytes,
          .all_at_once = true},
         stream);
}

template <typename T>
void launch_dtype(const StepParams& params, int batch_tile, int sm_count, cudaStream_t stream) {
  switch (batch_tile) {
    case 8:
      return launch_form<T, 8, kStepHeadSize>(params, sm_count, stream);
    case 16:
      return launch_form<T, 16, kStepHeadSize>(params, sm_count, stream);
    default:
      return launch_form<T, 32, kStepHeadSize>(params, sm_count, stream);
  }
}

}  // namespace

void launch_decode_step(const StepParams& params, DType dtype, int batch_tile, int sm_count,
                        cudaStream_t stream) {
  if (dtype == DType::kBF16) {
    launch_dtype<__nv_bfloat16>(params, batch_tile, sm_count, stream);
  } else {
    launch_dtype<__half>(params, batch_tile, sm_count, stream);
  }
}

}  // namespace dak::cuda
