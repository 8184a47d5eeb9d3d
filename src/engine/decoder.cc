#include "engine/decoder.h"

#include <algorithm>
#include <numeric>
#include <unordered_map>

#include "base/seconds.h"
#include "engine/step_rows.h"
#include "model/pass.h"
#include "ops/rows.h"

namespace dak {

Decoder::Decoder(Engine& engine, std::vector<KvHold*> holds, std::vector<TokenId> tokens,
                 std::vector<Sampler*> samplers, ChooseFn choose)
    : engine_(engine),
      holds_(std::move(holds)),
      samplers_(std::move(samplers)),
      choose_(std::move(choose)),
      tokens_(std::move(tokens)) {
  require(!holds_.empty() && holds_.size() == tokens_.size(), "a decoder needs sequences");
  require(std::ssize(holds_) <= engine_.sequences_, "a decoder of more sequences than its engine");
  require(samplers_.empty() || samplers_.size() == holds_.size(), "a sampler for each sequence");
  const bool changed = std::ranges::any_of(
      samplers_, [](const Sampler* sampler) { return sampler->params().changes_logits(); });
  choice_ = changed || choose_ ? TokenChoice::kHost : TokenChoice::kDevice;
  assign_rows();
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
              .kv_dtype = engine.cache_->dtype()};
  for (int64_t i = 0; i < std::ssize(holds); ++i) {
    const KvHold* hold = holds[static_cast<size_t>(i)];
    batch.positions.push_back(hold != nullptr ? static_cast<int32_t>(hold->tokens) : 0);
    batch.sequences.push_back({.pages = hold != nullptr ? &hold->pages : nullptr,
                               .past = hold != nullptr ? hold->tokens : kPaddingPast,
                               .first_row = i,
                               .rows = 1});
    batch.logit_rows.push_back(static_cast<int32_t>(i));
  }
  return batch;
}

// On a GPU a sequence keeps the row that it had, so that its page table is there already; on the
// CPU rows are in order.
void Decoder::assign_rows() {
  const auto count = holds_.size();
  row_of_.assign(count, -1);
  if (engine_.ctx_.backend != Backend::kCuda) {
    std::iota(row_of_.begin(), row_of_.end(), 0);
    row_holds_ = holds_;
    row_tokens_ = tokens_;
    return;
  }
  row_holds_.assign(static_cast<size_t>(step_rows(std::ssize(holds_), engine_.sequences_)),
                    nullptr);
  row_tokens_.assign(row_holds_.size(), 0);
  std::unordered_map<const KvHold*, size_t> rows_before;
  for (size_t row = 0; row < std::min(row_holds_.size(), engine_.row_holds_.size()); ++row) {
    rows_before[engine_.row_holds_[row]] = row;
  }
  for (size_t i = 0; i < count; ++i) {
    const auto before = rows_before.find(holds_[i]);
    if (before == rows_before.end()) continue;
    row_of_[i] = static_cast<int64_t>(before->second);
    row_holds_[before->second] = holds_[i];
  }
  size_t row = 0;
  for (size_t i = 0; i < count; ++i) {
    if (row_of_[i] >= 0) continue;
    while (row_holds_[row] != nullptr) ++row;
    row_of_[i] = static_cast<int64_t>(row);
    row_holds_[row] = holds_[i];
  }
  engine_.row_holds_.assign(row_holds_.begin(), row_holds_.end());
}

Engine::StepGraph& Decoder::step_graph() const { return engine_.graphs_[std::ssize(row_holds_)]; }

// The step after everything enqueued so far.
void Decoder::fill_batch() {
  for (size_t i = 0; i < holds_.size(); ++i) {
    row_tokens_[static_cast<size_t>(row_of_[i])] = tokens_[i];
  }
  batch_ = batch_of(engine_, row_holds_, row_tokens_);
  if (graph_ != nullptr) batch_.table_pages = kv_pages_for(engine_.context_);
}

void Decoder::prepare_graph() {
  for (KvHold* hold : holds_) engine_.cache_->reserve(*hold, hold->tokens + 1);
  graph_ = engine_.recorded_step(std::ssize(row_holds_)).graph.get();
  fill_batch();
  versions_told_.clear();
}

void Decoder::tell_pages() {
  std::vector<int64_t> versions(row_holds_.size(), 0);
  std::vector<int64_t> whole(row_holds_.size(), 0);
  for (size_t row = 0; row < row_holds_.size(); ++row) {
    if (row_holds_[row] == nullptr) continue;
    versions[row] = row_holds_[row]->version;
    whole[row] = row_holds_[row]->tokens / kPageTokens;
  }
  if (versions == versions_told_ && whole == whole_told_) return;
  versions_told_ = std::move(versions);
  whole_told_ = std::move(whole);
  BatchKv kv(engine_.config_, batch_);
  for (int64_t layer = 0; layer < engine_.config_.layers; ++layer) {
    const AttentionConfig config = kv.enter_layer(layer);
    graph_->set_pages(config, kv.sequences, versions_told_);
  }
}

void Decoder::set_inputs() {
  std::vector<DrawParams> draws;
  if (on_device()) {
    draws.resize(row_holds_.size());  // greedy
    for (size_t i = 0; i < samplers_.size(); ++i) {
      draws[static_cast<size_t>(row_of_[i])] = samplers_[i]->params().draw();
    }
  }
  BatchKv kv(engine_.config_, batch_);
  const AttentionConfig config = kv.enter_layer(0);
  graph_->set_inputs(batch_.tokens, batch_.positions, config, kv.sequences, draws);
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
    if (lost) versions_told_.clear();  // another decoder may have told of its own
    tell_pages();
    if (lost || !on_device()) set_inputs();
    graph_->launch();
    pending.traffic = entry.weight_traffic;
    pending.traffic.add_all(kv_traffic_of(engine_.config_, batch_));
  } else {
    engine_.ctx_.traffic = {};
    const Tensor logits =
        engine_.model_->forward(engine_.ctx_, *engine_.weights_, batch_, *engine_.workspace_);
    logits_ = host_values(engine_.ctx_, logits);
    pending.traffic = engine_.ctx_.traffic;
  }
  for (KvHold* hold : holds_) hold->tokens += 1;
  pending_.push_back(pending);
  ++engine_.steps_in_flight_;
}

// The host's choice from logits [rows, vocabulary].
void Decoder::choose(std::span<const float> logits) {
  const auto width = static_cast<size_t>(engine_.config_.vocabulary);
  engine_.pool_->parallel_for(std::ssize(holds_), 1, [&](int64_t begin, int64_t end, int) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      const auto at = static_cast<size_t>(row_of_[i]);
      const std::span<const float> row = logits.subspan(at * width, width);
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
    for (size_t i = 0; i < tokens_.size(); ++i) {
      tokens_[i] = chosen.tokens[static_cast<size_t>(row_of_[i])];
    }
    for (size_t i = 0; i < samplers_.size(); ++i) {
      if (tokens_[i] != kNoToken) samplers_[i]->accept(tokens_[i]);
    }
    step.seconds = chosen.seconds;
    return step;
  }
  choose(graph_ != nullptr ? graph_->finish().logits : logits_);
  step.seconds = seconds_since(pending.enqueued);
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
