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

  // After the operation of this weight come the pages of its layer.
  void add_after(const std::string& weight, std::vector<PrefetchStage>& cycle) {
    if (!used_ || !weight.ends_with(".qkv")) return;
    const int64_t layer = next_layer_++;
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
  int64_t next_layer_ = 0;
};

}  // namespace

std::array<int64_t, 2> kv_buffer_bytes(const ModelConfig& config, DType dtype, const KvRoom& room) {
  std::array<int64_t, 2> bytes{};
  for (size_t layer = 0; layer < room.size(); ++layer) {
    const int64_t pool = KvCache::size_bytes(config, dtype, {room[layer]}, 1);
    bytes[layer % 2] = std::max(bytes[layer % 2], pool);
  }
  return bytes;
}

void prepare_access(const Plan& plan, const KvCache& cache, Weights& weights,
                    CudaBackend& backend) {
  std::vector<std::byte*> buffers;
  for (const int64_t bytes : plan.prefetch.buffer_bytes) {
    buffers.push_back(weights.arena(0).allocate(bytes));
  }
  KvBuffers kv(plan, cache, weights, buffers);
  std::vector<PrefetchStage> cycle;
  auto stage = plan.prefetch.cycle.begin();
  for (size_t i = 0; i < plan.operands.size(); ++i) {
    const std::string& name = plan.operands[i].operand.name;
    if (stage != plan.prefetch.cycle.end() && stage->operand == i) {
      cycle.push_back({.weight = &weights.matrix(name), .buffer = stage->buffer});
      ++stage;
    }
    kv.add_after(name, cycle);
  }
  require(stage == plan.prefetch.cycle.end(), "prefetch stages in another order than the weights");
  use_prefetch(backend, cycle, buffers);
  if (plan.fixed.uva_bytes > 0) {
    use_uva(backend, weights.arena(0).allocate(plan.fixed.uva_bytes), plan.fixed.uva_bytes);
  }
}

}  // namespace dak
