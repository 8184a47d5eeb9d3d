#include "engine/access.h"

#include <algorithm>

namespace dak {
namespace {

// The layers whose pages are copied, in the order of the cycle.
class KvBuffers {
 public:
  KvBuffers(const Plan& plan, const KvCache& cache, Weights& weights,
            std::vector<std::byte*>& buffers)
      : cache_(cache), first_(buffers.size()), used_(plan.fixed.kv_buffer_bytes > 0) {
    if (!used_) return;
    std::array<int64_t, 2> bytes{};
    for (int64_t layer = 0; layer < cache.layers(); ++layer) {
      int64_t& most = bytes[static_cast<size_t>(layer % 2)];
      most = std::max(most, std::ssize(cache.pool(layer, 1)));
    }
    for (const int64_t size : bytes) buffers.push_back(weights.arena(0).allocate(size));
  }

  void add(int64_t layer, std::vector<PrefetchStage>& cycle) {
    if (!used_) return;
    const std::span<const std::byte> pool = cache_.pool(layer, 1);
    if (pool.empty()) return;
    cycle.push_back({.weight = nullptr,
                     .buffer = first_ + static_cast<size_t>(layer % 2),
                     .kv_layer = layer,
                     .kv_pool = pool});
  }

 private:
  const KvCache& cache_;
  size_t first_;
  bool used_;
};

// Of each matrix: the layer whose attention is what its product goes before; -1: none.
std::vector<int64_t> attention_behind(const Program& program) {
  std::vector<int64_t> layers(program.matrices.size(), -1);
  MatrixId last;
  for (const Step& step : program.steps) {
    if (step.kind == StepKind::kProduct) last = step.matrix;
    if (step.kind == StepKind::kAttention) layers.at(static_cast<size_t>(last.index)) = step.layer;
  }
  return layers;
}

}  // namespace

std::array<int64_t, 2> kv_buffer_bytes(const ModelConfig& config, DType dtype, const KvRoom& room) {
  std::array<int64_t, 2> bytes{};
  for (size_t layer = 0; layer < room.size(); ++layer) {
    const int64_t pool = KvCache::size_bytes(config, dtype, {room[layer]}, 1);
    bytes[layer % 2] = std::max(bytes[layer % 2], pool);
  }
  return bytes;
}

void prepare_access(const Program& program, const Plan& plan, const KvCache& cache,
                    Weights& weights, CudaBackend& backend) {
  std::vector<std::byte*> buffers;
  for (const int64_t bytes : plan.prefetch.buffer_bytes) {
    buffers.push_back(weights.arena(0).allocate(bytes));
  }
  KvBuffers kv(plan, cache, weights, buffers);
  const std::vector<int64_t> attention = attention_behind(program);
  std::vector<PrefetchStage> cycle;
  auto stage = plan.prefetch.cycle.begin();
  for (const MatrixId id : program.matrix_ids()) {
    const auto i = static_cast<size_t>(id.index);
    if (stage != plan.prefetch.cycle.end() && stage->operand == i) {
      cycle.push_back({.weight = &weights.matrix(id), .buffer = stage->buffer});
      ++stage;
    }
    if (attention[i] >= 0) kv.add(attention[i], cycle);
  }
  require(stage == plan.prefetch.cycle.end(), "prefetch stages in another order than the weights");
  use_prefetch(backend, cycle, buffers);
  if (plan.fixed.uva_bytes > 0) {
    use_uva(backend, weights.arena(0).allocate(plan.fixed.uva_bytes), plan.fixed.uva_bytes);
  }
}

}  // namespace dak
