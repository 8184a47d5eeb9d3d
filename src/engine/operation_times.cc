#include "engine/operation_times.h"

#include "engine/decoder.h"
#include "ops/rows.h"

namespace dak {
namespace {

// The context times for as long as this lives.
struct Timing {
  Timing(OpContext& to, OperationTimer& timer) : ctx(to) { ctx.timer = &timer; }
  ~Timing() { ctx.timer = nullptr; }
  Timing(const Timing&) = delete;
  Timing& operator=(const Timing&) = delete;
  OpContext& ctx;
};

}  // namespace

OperationTimes time_operations(Engine& engine, std::span<KvHold* const> holds,
                               std::span<const TokenId> tokens, int64_t steps) {
  for (KvHold* hold : holds) engine.cache_->reserve(*hold, hold->tokens + 1);
  const Batch batch = Decoder::batch_of(engine, holds, tokens);
  const std::unique_ptr<OperationTimer> timer = make_operation_timer(engine.ctx_);
  OperationTimes best;
  for (int64_t i = 0; i <= steps; ++i) {
    const Timing timing(engine.ctx_, *timer);
    timer->begin();
    const Tensor logits = engine.model_->forward(engine.ctx_, batch, *engine.workspace_);
    // On a GPU a step's tokens are chosen there; its logits stay.
    if (engine.ctx_.backend == Backend::kCpu) host_values(engine.ctx_, logits);
    OperationTimes times{.operations = timer->finish()};
    for (const OperationTimer::Seconds& one : times.operations) times.total_s += one.seconds;
    if (i > 0 && (best.operations.empty() || times.total_s < best.total_s)) best = times;
  }
  return best;
}

}  // namespace dak
