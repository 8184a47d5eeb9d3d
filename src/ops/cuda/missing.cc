// Stands in for the CUDA backend in a build without CUDA.
#include "base/error.h"
#include "ops/cuda/backend.h"
#include "ops/cuda_backend.h"
#include "ops/decode_graph.h"
#include "ops/page_mover.h"
#include "ops/tensor_peak.h"

namespace dak {
namespace {

[[noreturn]] void refuse() {
  throw_unsupported("--device", {}, "cuda", "this build of dak has no CUDA",
                    "use --device cpu, or build where nvcc is");
}

}  // namespace

void CudaBackendDeleter::operator()(CudaBackend*) const {}  // none was ever made
CudaBackendPtr make_cuda_backend(int, KernelKind) { refuse(); }
void set_tier_bandwidths(CudaBackend&, std::span<const Tier>) { refuse(); }
LinkStatus link_status(const CudaBackend&, TierIndex) { refuse(); }
void set_fixed_window(CudaBackend&, TierIndex, int64_t) { refuse(); }
void use_prefetch(CudaBackend&, std::span<const PrefetchStage>, std::span<std::byte* const>) {
  refuse();
}
void use_uva(CudaBackend&, std::byte*, int64_t) { refuse(); }
void forget_weights(CudaBackend&) { refuse(); }
void check_uva() { refuse(); }
std::unique_ptr<PageMover> make_cuda_page_mover(CudaBackend&) { refuse(); }
std::optional<double> measure_tensor_peak(int, DType) { refuse(); }

std::unique_ptr<DecodeGraph> record_decode_graph(OpContext&, int64_t,
                                                 const std::function<Tensor()>&) {
  refuse();
}
void reserve_decode_graphs(OpContext&, const AttentionConfig&, int64_t, int64_t) { refuse(); }

namespace cuda {

int64_t readings(const OpContext&, const TieredTensor&, TierIndex, int64_t) { refuse(); }

void matmul(OpContext&, const Tensor&, const TieredTensor&, const Tensor&, const MatmulEpilogue&) {
  refuse();
}
void matmul_gated(OpContext&, const Tensor&, const TieredTensor&, const Tensor&, Activation) {
  refuse();
}
void embedding(OpContext&, std::span<const int32_t>, const TieredTensor&, const Tensor&) {
  refuse();
}
void add_positions(OpContext&, std::span<const int32_t>, const TieredTensor&, int32_t,
                   const Tensor&) {
  refuse();
}
void rms_norm(OpContext&, const Tensor&, const float*, float, const Tensor&) { refuse(); }
void layer_norm(OpContext&, const Tensor&, const float*, const float*, float, const Tensor&) {
  refuse();
}
void rope(OpContext&, std::span<const int32_t>, const RopeFrequencies&, const Tensor&) { refuse(); }
void split_columns(OpContext&, const Tensor&, std::span<const Tensor>) { refuse(); }
void gather_rows(OpContext&, const Tensor&, std::span<const int32_t>, const Tensor&) { refuse(); }
void store_kv(OpContext&, const AttentionConfig&, std::span<const KvSequence>, const Tensor&,
              const Tensor&) {
  refuse();
}
void announce_kv(OpContext&, const AttentionConfig&, std::span<const KvSequence>) { refuse(); }
void attention(OpContext&, const AttentionConfig&, std::span<const KvSequence>, const Tensor&,
               const Tensor&) {
  refuse();
}
void split_heads(OpContext&, const AttentionConfig&, std::span<const KvSequence>,
                 std::span<const int32_t>, const HeadTransform&, const Tensor&, const Tensor&) {
  refuse();
}
const float* host_values(OpContext&, const Tensor&) { refuse(); }
std::unique_ptr<OperationTimer> make_operation_timer(OpContext&) { refuse(); }

}  // namespace cuda
}  // namespace dak
