#include "kernels/half_types.h"
#include "kernels/launch.h"
#include "kernels/sm90_gemm.cuh"
#include "kernels/sm90_gemm.h"

namespace dak {
namespace {

// Calls use.operator()<T, kTokens>().
template <typename Use>
auto with_form(DType dtype, int token_tile, const Use& use) {
  return with_half_type(dtype, "gemm", [&]<typename T>() {
    switch (token_tile) {
      case 128:
        return use.template operator()<T, 128>();
      case 256:
        return use.template operator()<T, 256>();
      default:
        refuse_form("gemm", "token tile", token_tile);
    }
  });
}

template <int kTokens>
LaunchShape shape_of(int clusters, int cluster_size) {
  return {.blocks = clusters * cluster_size,
          .threads = GemmShape<kTokens>::kThreads,
          .shared_bytes = GemmShape<kTokens>::kSharedBytes,
          .cluster_size = cluster_size};
}

}  // namespace

int gemm_clusters(DType dtype, int token_tile, int size) {
  return with_form(dtype, token_tile, [&]<typename T, int kTokens>() {
    return most_clusters(reinterpret_cast<const void*>(sm90_gemm<T, kTokens>),
                         shape_of<kTokens>(1, size));
  });
}

void launch_sm90_gemm(const GemmParams& params, DType dtype, int token_tile, int clusters,
                      bool overlap_previous, cudaStream_t stream) {
  const int size = params.weight_ranks * params.token_ranks;
  with_form(dtype, token_tile, [&]<typename T, int kTokens>() {
    LaunchShape shape = shape_of<kTokens>(clusters, size);
    shape.overlap_previous = overlap_previous;
    launch(sm90_gemm<T, kTokens>, params, shape, stream);
  });
}

}  // namespace dak
