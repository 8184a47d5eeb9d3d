// Stands in for the TMA kernels in a build without sm_90a, where kernel_support() never offers
// them.
#include "base/error.h"
#include "kernels/kernel_kind.h"
#include "ops/cuda/kernels.h"
#include "ops/cuda/sm90_prefill_attention.h"

namespace dak::cuda {
namespace {

[[noreturn]] void refuse() {
  throw_unsupported("--kernels", {}, name(KernelKind::kTma), "this dak was built without sm_90a",
                    "use --kernels plain");
}

}  // namespace

void launch_paged_attention(const AttentionParams&, int, cudaStream_t) { refuse(); }
void launch_ring_attention(const AttentionParams&, int, cudaStream_t) { refuse(); }
void launch_prefill_attention(const PrefillParams&, int, cudaStream_t) { refuse(); }

}  // namespace dak::cuda
