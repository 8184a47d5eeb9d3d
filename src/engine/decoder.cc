#include "engine/decoder.h"

#include <algorithm>

#include "model/pass.h"
#include "ops/rows.h"

namespace dak {
namespace {

TierTraffic difference(const TierTraffic& a, const TierTraffic& b) {
  TierTraffic result;
  for (size_t i = 0; i < a.read_bytes.size(); ++i) {
    result.read_bytes[i] = a.read_bytes[i] - b.read_bytes[i];
    result.kv_bytes[i] = a.kv_bytes[i] - b.kv_bytes[i];
  }
  return result;
}

}  // namespace

Decoder::Decoder(Engine& engine, std::vector<KvHold*> holds, std::vector<TokenId> tokens,
                 std::vector<Sampler*> samplers, ChooseFn choose)
    : engine_(engine),
      holds_(std::move(holds)),
      samplers_(std::move(samplers)),
      choose_(std::move(choose)),
      tokens_(std::move(tokens)) {
  require(!holds_.empty() && holds_.size() == tokens_.size(), "a decoder needs sequences");
  require(samplers_.empty() || samplers_.size() == holds_.size(), "a sampler for each sequence");
  const bool penalties = std::ranges::any_of(
      samplers_, [](const Sampler* sampler) { return sampler->params().penalised(); });
  choice_ = penalties || choose_ ? TokenChoice::kHost : TokenChoice::kDevice;
  if (engine_.ctx_.backend == Backend::kCuda) prepare_graph();
}

Decoder::~Decoder() {
  try {
    drop();
  } catch (const Error&) {
    // The GPU was lost, and the call that found out has said so.
  }
  if (graph_ != nullptr && step_graph().user == this) step_graph().user = nullptr;
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

Engine::StepGraph& Decoder::step_graph() const {
  return engine_.graphs_[{std::ssize(holds_), choice_}];
}

// The step after everything enqueued so far.
void Decoder::fill_batch() { batch_ = batch_of(engine_, holds_, tokens_); }

// Recording runs the step once, so the sequences must have room for it; it writes the same keys and
// values that the first real step will.
void Decoder::prepare_graph() {
  for (KvHold* hold : holds_) engine_.cache_->reserve(*hold, hold->tokens + 1);
  fill_batch();
  Engine::StepGraph& entry = step_graph();
  if (entry.graph == nullptr || entry.graph->stale()) {
    entry.graph.reset();
    entry.graph = record_decode_graph(engine_.ctx_, choice_, [this] {
      return engine_.model_->forward(engine_.ctx_, batch_, *engine_.workspace_);
    });
    entry.weight_traffic = difference(engine_.ctx_.traffic, kv_traffic_of(engine_.config_, batch_));
  }
  graph_ = entry.graph.get();
  pages_told_.assign(holds_.size(), {0, 0});
}

void Decoder::tell_pages(bool all) {
  bool changed = all;
  for (size_t i = 0; i < holds_.size(); ++i) {
    const std::pair now(holds_[i]->version, holds_[i]->tokens / kPageTokens);
    changed |= pages_told_[i] != now;
    pages_told_[i] = now;
  }
  if (!changed) return;
  Pass pass(engine_.config_, batch_, *engine_.workspace_);
  for (int64_t layer = 0; layer < engine_.config_.layers; ++layer) {
    const AttentionConfig config = pass.enter_layer(layer);
    graph_->set_pages(config, pass.sequences);
  }
}

void Decoder::set_inputs() {
  std::vector<DrawParams> draws;
  if (on_device()) {
    draws.resize(holds_.size());  // greedy
    for (size_t i = 0; i < samplers_.size(); ++i) draws[i] = samplers_[i]->params().draw();
  }
  Pass pass(engine_.config_, batch_, *engine_.workspace_);
  const AttentionConfig config = pass.enter_layer(0);
  graph_->set_inputs(batch_.tokens, batch_.positions, config, pass.sequences, draws);
  step_graph().user = this;
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
  require(on_device() || pending_.empty(), "a step takes the last one's tokens from the host");
  require(std::ranges::find(tokens_, kNoToken) == tokens_.end(), "a sequence without a token");
  engine_.take_revokes();
  Pending pending{.traffic = {}, .enqueued = Clock::now()};
  engine_.cache_->rebalance(kRebalancedPages);
  for (KvHold* hold : holds_) engine_.cache_->reserve(*hold, hold->tokens + 1);
  fill_batch();
  if (graph_ != nullptr) {
    const Engine::StepGraph& entry = step_graph();
    if (entry.graph.get() != graph_ || graph_->stale()) {
      require(pending_.empty(), "a decoder's graph was lost while it was in use");
      prepare_graph();
    }
    const bool lost = entry.user != this || graph_->lost_inputs();
    require(!lost || pending_.empty(), "a decoder's inputs were overwritten while it was in use");
    tell_pages(lost);
    if (lost || !on_device()) set_inputs();
    graph_->launch();
    pending.traffic = entry.weight_traffic;
    pending.traffic.add_all(kv_traffic_of(engine_.config_, batch_));
  } else {
    engine_.ctx_.traffic = {};
    const Tensor logits = engine_.model_->forward(engine_.ctx_, batch_, *engine_.workspace_);
    logits_ = host_values(engine_.ctx_, logits);
    pending.traffic = engine_.ctx_.traffic;
  }
  for (KvHold* hold : holds_) hold->tokens += 1;
  pending_.push_back(pending);
  ++engine_.steps_in_flight_;
}

// The host's choice from logits [sequences, vocabulary].
void Decoder::choose(std::span<const float> logits) {
  const auto width = static_cast<size_t>(engine_.config_.vocabulary);
  engine_.pool_->parallel_for(std::ssize(holds_), 1, [&](int64_t begin, int64_t end, int) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      const std::span<const float> row = logits.subspan(i * width, width);
      if (choose_) {
        tokens_[i] = choose_(static_cast<int64_t>(i), row);
      } else if (!any_to_choose(row)) {
        tokens_[i] = kNoToken;
      } else {
        tokens_[i] = samplers_.empty() ? most_likely(row) : samplers_[i]->sample(row);
      }
    }
  });
}

void Decoder::Step::check() const {
  if (std::ranges::find(tokens, kNoToken) != tokens.end()) throw nothing_to_choose();
}

Decoder::Step Decoder::finish() {
  require(!pending_.empty(), "a decoder without a step in flight");
  const Pending pending = pending_.front();
  pending_.pop_front();
  --engine_.steps_in_flight_;
  Step step{.tokens = tokens_, .seconds = 0, .traffic = pending.traffic};
  if (on_device()) {
    const DecodeGraph::Step chosen = graph_->finish();
    std::ranges::copy(chosen.tokens, tokens_.begin());
    for (size_t i = 0; i < samplers_.size(); ++i) {
      if (tokens_[i] != kNoToken) samplers_[i]->accept(tokens_[i]);
    }
    step.seconds = chosen.seconds;
    return step;
  }
  choose(graph_ != nullptr ? graph_->finish().logits : logits_);
  step.seconds = std::chrono::duration<double>(Clock::now() - pending.enqueued).count();
  return step;
}

void Decoder::drop() {
  if (on_device() && !pending_.empty()) step_graph().user = nullptr;  // it went on without us
  while (!pending_.empty()) {
    for (KvHold* hold : holds_) hold->tokens -= 1;
    pending_.pop_front();
    --engine_.steps_in_flight_;
    if (graph_ != nullptr) graph_->discard();
  }
}

}  // namespace dak
