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

template <typename T, int kBatch>
void launch_batch(const StepParams& params, int64_t head_size, int sm_count, cudaStream_t stream) {
  if (head_size == 64) return launch_form<T, kBatch, 64>(params, sm_count, stream);
  launch_form<T, kBatch, 128>(params, sm_count, stream);
}

template <typename T>
void launch_dtype(const StepParams& params, int batch_tile, int64_t head_size, int sm_count,
                  cudaStream_t stream) {
  switch (batch_tile) {
    case 8:
      return launch_batch<T, 8>(params, head_size, sm_count, stream);
    case 16:
      return launch_batch<T, 16>(params, head_size, sm_count, stream);
    default:
      return launch_batch<T, 32>(params, head_size, sm_count, stream);
  }
}

}  // namespace

void launch_decode_step(const StepParams& params, DType dtype, int batch_tile, int64_t head_size,
                        int sm_count, cudaStream_t stream) {
  if (dtype == DType::kBF16) {
    launch_dtype<__nv_bfloat16>(params, batch_tile, head_size, sm_count, stream);
  } else {
    launch_dtype<__half>(params, batch_tile, head_size, sm_count, stream);
  }
}

}  // namespace dak::cuda
