#include "engine/operation_times.h"

#include "engine/decoder.h"
#include "ops/rows.h"

namespace dak {
OperationTimes total_of(std::vector<OperationTimer::Seconds> operations, Backend backend) {
  OperationTimes times{.operations = std::move(operations), .apart = backend == Backend::kCuda};
  for (const OperationTimer::Seconds& one : times.operations) times.total_s += one.seconds;
  return times;
}

OperationTimes time_operations(Engine& engine, std::span<KvHold* const> holds,
                               std::span<const TokenId> tokens, int64_t steps) {
  for (KvHold* hold : holds) engine.cache_->reserve(*hold, hold->tokens + 1);
  const Batch batch = Decoder::batch_of(engine, holds, tokens);
  const std::unique_ptr<OperationTimer> timer = make_operation_timer(engine.ctx_);
  OperationTimes best;
  for (int64_t i = 0; i <= steps; ++i) {
    const TimingOperations timing(engine.ctx_, *timer);
    timer->begin();
    const Tensor logits =
        engine.model_->forward(engine.ctx_, *engine.weights_, batch, *engine.workspace_);
    // On a GPU a step's tokens are chosen there; its logits stay.
    if (engine.ctx_.backend == Backend::kCpu) host_values(engine.ctx_, logits);
    OperationTimes times = total_of(timer->finish(), engine.ctx_.backend);
    if (i > 0 && (best.operations.empty() || times.total_s < best.total_s)) best = times;
  }
  return best;
}

}  // namespace dak
