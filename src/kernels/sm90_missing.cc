// Stands in for the TMA kernels in a build without sm_90a, where kernel_support() never offers
// them.
#include "base/error.h"
#include "kernels/sm90_gemm.h"
#include "kernels/sm90_split_matmul.h"
#include "kernels/tier_load.h"
#include "kernels/tier_reader.h"

namespace dak {
namespace {

[[noreturn]] void refuse() {
  throw_unsupported("--kernels", {}, name(KernelKind::kTma), "this dak was built without sm_90a",
                    "use --kernels plain");
}

}  // namespace

void launch_sm90_split_matmul(const SplitMatmulParams&, DType, int, int, bool, cudaStream_t) {
  refuse();
}
int gemm_clusters(DType, int, int) { refuse(); }
void launch_sm90_gemm(const GemmParams&, DType, int, int, bool, cudaStream_t) { refuse(); }
void launch_sm90_tier_reader(const TierRead&, cudaStream_t) { refuse(); }
void launch_sm90_tier_load(const TierLoad&, cudaStream_t) { refuse(); }

}  // namespace dak
