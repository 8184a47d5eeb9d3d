#include "engine/access.h"

namespace dak {

void prepare_access(const Plan& plan, Weights& weights, CudaBackend& backend) {
  std::vector<std::byte*> buffers;
  for (const int64_t bytes : plan.prefetch.buffer_bytes) {
    buffers.push_back(weights.arena(0).allocate(bytes));
  }
  std::vector<PrefetchStage> cycle;
  for (const PrefetchPlan::Stage& stage : plan.prefetch.cycle) {
    const std::string& name = plan.operands[stage.operand].operand.name;
    cycle.push_back({.weight = &weights.matrix(name), .buffer = stage.buffer});
  }
  use_prefetch(backend, cycle, buffers);
  if (plan.fixed.uva_bytes > 0) {
    use_uva(backend, weights.arena(0).allocate(plan.fixed.uva_bytes), plan.fixed.uva_bytes);
  }
}

}  // namespace dak
