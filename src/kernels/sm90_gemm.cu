#include "kernels/launch.h"
#include "kernels/sm90_gemm.cuh"
#include "kernels/sm90_gemm.h"

namespace dak {
namespace {

// Calls use.operator()<T, kTokens>().
template <typename Use>
auto with_form(DType dtype, int token_tile, const Use& use) {
  if (dtype == DType::kBF16) {
    return token_tile == 128 ? use.template operator()<__nv_bfloat16, 128>()
                             : use.template operator()<__nv_bfloat16, 256>();
  }
  return token_tile == 128 ? use.template operator()<__half, 128>()
                           : use.template operator()<__half, 256>();
}

// Once for each kernel: it may have all shared memory, and clusters of 16.
template <typename T, int kTokens>
void allow() {
  static const bool allowed = [] {
    const auto* kernel = reinterpret_cast<const void*>(sm90_gemm<T, kTokens>);
    cuda_check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(GemmShape<kTokens>::kSharedBytes)));
    cuda_check(cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1));
    return true;
  }();
  static_cast<void>(allowed);
}

}  // namespace

int gemm_clusters(DType dtype, int token_tile, int size) {
  return with_form(dtype, token_tile, [&]<typename T, int kTokens>() {
    allow<T, kTokens>();
    cudaLaunchAttribute attribute{};
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim = {static_cast<unsigned>(size), 1, 1};
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(size));
    config.blockDim = dim3(GemmShape<kTokens>::kThreads);
    config.dynamicSmemBytes = GemmShape<kTokens>::kSharedBytes;
    config.attrs = &attribute;
    config.numAttrs = 1;
    int clusters = 0;
    cuda_check(cudaOccupancyMaxActiveClusters(
        &clusters, reinterpret_cast<const void*>(sm90_gemm<T, kTokens>), &config));
    return clusters;
  });
}

void launch_sm90_gemm(const GemmParams& params, DType dtype, int token_tile, int clusters,
                      bool overlap_previous, cudaStream_t stream) {
  const int size = params.weight_ranks * params.token_ranks;
  with_form(dtype, token_tile, [&]<typename T, int kTokens>() {
    allow<T, kTokens>();
    launch(sm90_gemm<T, kTokens>, params,
           {.blocks = clusters * size,
            .threads = GemmShape<kTokens>::kThreads,
            .shared_bytes = GemmShape<kTokens>::kSharedBytes,
            .overlap_previous = overlap_previous,
            .cluster_size = size},
           stream);
  });
}

}  // namespace dak
