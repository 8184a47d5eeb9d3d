#include "engine/decoder.h"

#include <chrono>

#include "model/pass.h"
#include "ops/rows.h"

namespace dak {
namespace {

TierTraffic difference(const TierTraffic& a, const TierTraffic& b) {
  TierTraffic result;
  for (size_t i = 0; i < a.read_bytes.size(); ++i) {
    result.read_bytes[i] = a.read_bytes[i] - b.read_bytes[i];
  }
  return result;
}

}  // namespace

Decoder::Decoder(Engine& engine, std::vector<KvHold*> holds, std::vector<TokenId> tokens)
    : engine_(engine), holds_(std::move(holds)), tokens_(std::move(tokens)) {
  require(!holds_.empty() && holds_.size() == tokens_.size(), "a decoder needs sequences");
  if (engine_.ctx_.backend == Backend::kCuda && std::ssize(holds_) <= kMaxGraphRows) {
    prepare_graph();
  }
}

Decoder::~Decoder() {
  try {
    drop();
  } catch (const Error&) {
    // The GPU was lost, and the call that found out has said so.
  }
}

Batch Decoder::batch_of(const Engine& engine, std::span<KvHold* const> holds,
                        std::span<const TokenId> tokens) {
  Batch batch{.tokens = {tokens.begin(), tokens.end()},
              .positions = {},
              .sequences = {},
              .logit_rows = {},
              .kv_dtype = engine.cache_->dtype(),
              .table_pages = kv_pages_for(engine.context_)};
  for (int64_t i = 0; i < std::ssize(holds); ++i) {
    const KvHold& hold = *holds[static_cast<size_t>(i)];
    batch.positions.push_back(static_cast<int32_t>(hold.tokens));
    batch.sequences.push_back(
        {.pages = &hold.pages, .past = hold.tokens, .first_row = i, .rows = 1});
    batch.logit_rows.push_back(static_cast<int32_t>(i));
  }
  return batch;
}

// The step after everything enqueued so far.
void Decoder::fill_batch() { batch_ = batch_of(engine_, holds_, tokens_); }

// Recording runs the step once, so the sequences must have room for it; it writes the same keys and
// values that the first real step will.
void Decoder::prepare_graph() {
  for (KvHold* hold : holds_) engine_.cache_->reserve(*hold, hold->tokens + 1);
  fill_batch();
  Engine::StepGraph& entry = engine_.graphs_[std::ssize(holds_)];
  if (entry.graph == nullptr || entry.graph->stale()) {
    entry.graph.reset();
    entry.graph = record_decode_graph(engine_.ctx_, [this] {
      return engine_.model_->forward(engine_.ctx_, batch_, *engine_.workspace_);
    });
    entry.weight_traffic = difference(engine_.ctx_.traffic, kv_traffic_of(engine_.config_, batch_));
  }
  graph_ = entry.graph.get();
  pages_told_.assign(holds_.size(), 0);
}

void Decoder::tell_pages() {
  bool changed = false;
  for (size_t i = 0; i < holds_.size(); ++i) {
    changed |= pages_told_[i] != holds_[i]->version;
    pages_told_[i] = holds_[i]->version;
  }
  if (!changed) return;
  Pass pass(engine_.config_, batch_, *engine_.workspace_);
  for (int64_t layer = 0; layer < engine_.config_.layers; ++layer) {
    const AttentionConfig config = pass.enter_layer(layer);
    graph_->set_pages(config, pass.sequences);
  }
}

void Decoder::enqueue() {
  for (const KvHold* hold : holds_) {
    if (hold->tokens < engine_.context_) continue;
    throw Error(ErrorCode::kResourceExhausted, {.where = "context",
                                                .field = {},
                                                .value = fmt::format("{} tokens", engine_.context_),
                                                .problem = "is full",
                                                .fix = "use a larger --context"});
  }
  engine_.cache_->rebalance(kRebalancedPages);
  for (KvHold* hold : holds_) engine_.cache_->reserve(*hold, hold->tokens + 1);
  fill_batch();
  Pending pending;
  if (graph_ != nullptr) {
    const bool lost_inputs = !inputs_set_ || graph_->lost_inputs();
    if (lost_inputs) pages_told_.assign(holds_.size(), 0);  // the tables are other sequences'
    tell_pages();
    if (lost_inputs) {
      require(pending_.empty(), "a decoder's inputs were overwritten while it was in use");
      inputs_set_ = true;
      Pass pass(engine_.config_, batch_, *engine_.workspace_);
      const AttentionConfig config = pass.enter_layer(0);
      graph_->set_inputs(batch_.tokens, batch_.positions, config, pass.sequences);
    }
    graph_->launch();
    pending.traffic = engine_.graphs_.at(std::ssize(holds_)).weight_traffic;
    pending.traffic.add_all(kv_traffic_of(engine_.config_, batch_));
  } else {
    require(pending_.empty(), "without a graph a step takes the last one's tokens from the host");
    const auto start = std::chrono::steady_clock::now();
    engine_.ctx_.traffic = {};
    const Tensor logits = engine_.model_->forward(engine_.ctx_, batch_, *engine_.workspace_);
    const std::span<const float> values = host_values(engine_.ctx_, logits);
    const auto width = static_cast<size_t>(engine_.config_.vocabulary);
    for (size_t i = 0; i < holds_.size(); ++i) {
      pending.tokens.push_back(most_likely(values.subspan(i * width, width)));
    }
    pending.traffic = engine_.ctx_.traffic;
    pending.seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  for (KvHold* hold : holds_) hold->tokens += 1;
  pending_.push_back(std::move(pending));
}

Decoder::Step Decoder::finish() {
  require(!pending_.empty(), "a decoder without a step in flight");
  Pending pending = std::move(pending_.front());
  pending_.pop_front();
  if (graph_ != nullptr) {
    const DecodeGraph::Step step = graph_->finish();
    tokens_.assign(step.tokens.begin(), step.tokens.end());
    return {.tokens = tokens_, .seconds = step.seconds, .traffic = pending.traffic};
  }
  tokens_ = std::move(pending.tokens);
  return {.tokens = tokens_, .seconds = pending.seconds, .traffic = pending.traffic};
}

void Decoder::drop() {
  if (!pending_.empty()) inputs_set_ = false;  // the device went on without us
  while (!pending_.empty()) {
    for (KvHold* hold : holds_) hold->tokens -= 1;
    pending_.pop_front();
    if (graph_ != nullptr) graph_->discard();
  }
}

}  // namespace dak
