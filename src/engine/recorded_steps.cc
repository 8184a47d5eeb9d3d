// An engine's recorded decode steps: room for them, their recording.
#include <algorithm>
#include <chrono>

#include "base/seconds.h"
#include "engine/decoder.h"
#include "engine/engine.h"
#include "engine/step_rows.h"

namespace dak {

void Engine::reserve_steps() {
  const AttentionConfig attention{.heads = config_.heads,
                                  .kv_heads = config_.kv_heads,
                                  .head_size = config_.head_size,
                                  .kv_dtype = cache_->dtype(),
                                  .table_pages = kv_pages_for(context_),
                                  .layers = config_.layers};
  reserve_decode_graphs(ctx_, attention, sequences_, workspace_->max_rows());
}

// Recorded of padding alone: it writes no page, and which sequences come to have the
// rows makes no difference.
Engine::StepGraph& Engine::recorded_step(int64_t rows) {
  StepGraph& entry = graphs_[rows];
  if (entry.graph != nullptr && !entry.graph->stale()) return entry;
  entry.graph.reset();
  entry.user = nullptr;
  const auto count = static_cast<size_t>(rows);
  Batch batch = Decoder::batch_of(*this, std::vector<KvHold*>(count), std::vector<TokenId>(count));
  batch.table_pages = kv_pages_for(context_);
  entry.graph = record_decode_graph(
      ctx_, rows, [&] { return model_->forward(ctx_, *weights_, batch, *workspace_); });
  entry.weight_traffic = ctx_.traffic;
  ++recordings_;
  return entry;
}

// The largest first: what it needs is enough for the others.
Engine::WarmUp Engine::warm_up(double most_seconds,
                               const std::function<void(int64_t done, int64_t of)>& progress) {
  WarmUp result;
  if (cuda_ == nullptr) return result;
  require(steps_in_flight_ == 0, "an engine is warmed up while a step is in flight");
  const auto start = std::chrono::steady_clock::now();
  std::vector<int64_t> all = all_step_rows(sequences_);
  std::ranges::reverse(all);
  result.steps = std::ssize(all);
  for (const int64_t rows : all) {
    if (result.seconds > most_seconds) break;
    recorded_step(rows);
    ++result.recorded;
    result.seconds = seconds_since(start);
    if (progress) progress(result.recorded, result.steps);
  }
  return result;
}

}  // namespace dak
