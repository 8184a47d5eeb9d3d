#include "engine/decode_loop.h"

#include <algorithm>

#include "engine/decoder.h"
#include "engine/prefill_chunk.h"

namespace dak {
namespace {

void check(const Engine& engine, int64_t sequences, int64_t past) {
  if (sequences < 1 || sequences > engine.sequences()) {
    throw_invalid(
        "decode loop", "sequences", std::to_string(sequences),
        fmt::format("is outside 1 to {}, what the engine has room for", engine.sequences()));
  }
  if (past < 1 || past >= engine.context()) {
    throw_invalid("decode loop", "past", std::to_string(past),
                  fmt::format("is outside 1 to {}, the context", engine.context() - 1),
                  "use a larger --context");
  }
}

// Pages at the front that lie one behind the other in one tier.
size_t pages_side_by_side(std::span<const KvPage> pages, int64_t page_bytes) {
  size_t count = 1;
  while (count < pages.size() && pages[count].tier == pages[0].tier &&
         pages[count].data == pages[count - 1].data + page_bytes) {
    ++count;
  }
  return count;
}

}  // namespace

struct DecodeLoop::State {
  Engine& engine;
  int64_t past;
  uint64_t seed;
  SamplingParams sampling;
  std::vector<KvHold> holds;
  std::vector<TokenId> tokens;
  std::vector<Sampler> samplers;
  std::unique_ptr<Decoder> decoder;

  State(Engine& loop_engine, int64_t sequences, int64_t loop_past, uint64_t loop_seed,
        const SamplingParams& loop_sampling)
      : engine(loop_engine),
        past(loop_past),
        seed(loop_seed),
        sampling(loop_sampling),
        holds(static_cast<size_t>(sequences)) {}
};

DecodeLoop::DecodeLoop(Engine& engine, int64_t sequences, int64_t past, uint64_t seed,
                       const SamplingParams& sampling) {
  check(engine, sequences, past);
  state_ = std::make_unique<State>(engine, sequences, past, seed, sampling);
  const AttentionConfig attention{.kv_heads = engine.config_.kv_heads,
                                  .head_size = engine.config_.head_size,
                                  .kv_dtype = engine.cache_->dtype()};
  const int64_t page_values = attention.page_values();
  const int64_t page_bytes = attention.page_bytes();
  int64_t written = 0;
  for (KvHold& hold : state_->holds) {
    engine.cache_->reserve(hold, past);
    engine.cache_->finish_moves();
    for (const std::vector<KvPage>& pages : hold.pages) {
      for (size_t i = 0; i < pages.size();) {
        const size_t count = pages_side_by_side(std::span(pages).subspan(i), page_bytes);
        const int64_t values = static_cast<int64_t>(count) * page_values;
        engine.weights_->arena(pages[i].tier)
            .fill_random(pages[i].data, {.seed = seed,
                                         .first_index = written,
                                         .count = values,
                                         .dtype = engine.cache_->dtype()});
        written += values;
        i += count;
      }
    }
    hold.tokens = past;
  }
  rewind();
}

DecodeLoop::~DecodeLoop() {
  state_->decoder.reset();
  for (KvHold& hold : state_->holds) state_->engine.cache_->release(hold);
}

void DecodeLoop::rewind() {
  State& state = *state_;
  state.decoder.reset();
  std::vector<KvHold*> holds;
  std::vector<Sampler*> samplers;
  state.tokens.clear();
  state.samplers.clear();
  state.samplers.reserve(state.holds.size());  // the decoder keeps their addresses
  std::vector<TokenId> sequence(static_cast<size_t>(state.past) + 1);
  SamplingParams sampling = state.sampling;
  for (size_t i = 0; i < state.holds.size(); ++i) {
    state.holds[i].tokens = state.past;
    holds.push_back(&state.holds[i]);
    const uint64_t token = (state.seed + 1) * 7919 + i * 104729;
    state.tokens.push_back(
        static_cast<TokenId>(token % static_cast<uint64_t>(state.engine.config_.vocabulary)));
    sequence.back() = state.tokens.back();
    samplers.push_back(&state.samplers.emplace_back(sampling));
    samplers.back()->observe_prompt(sequence);
    ++sampling.seed;
  }
  state.decoder = std::make_unique<Decoder>(state.engine, holds, state.tokens, samplers);
}

DecodeTiming DecodeLoop::run(int64_t steps) {
  Decoder& decoder = *state_->decoder;
  DecodeTiming timing;
  int64_t enqueued = 0;
  for (int64_t done = 0; done < steps; ++done) {
    while (enqueued < steps && decoder.in_flight() <= decoder.ahead()) {
      decoder.enqueue();
      ++enqueued;
    }
    const Decoder::Step step = decoder.finish();
    step.check();
    timing.step_seconds.push_back(step.seconds);
    timing.traffic.add_all(step.traffic);
    state_->tokens.assign(step.tokens.begin(), step.tokens.end());
  }
  return timing;
}

OperationTimes DecodeLoop::time_operations(int64_t steps) {
  std::vector<KvHold*> holds;
  for (KvHold& hold : state_->holds) holds.push_back(&hold);
  return dak::time_operations(state_->engine, holds, state_->tokens, steps);
}

namespace {

void check_prompt(const Engine& engine, int64_t tokens) {
  if (tokens >= 1 && tokens < engine.context()) return;
  throw_invalid("prefill", "tokens", std::to_string(tokens),
                fmt::format("is outside 1 to {}, the context", engine.context() - 1),
                "use a larger --context");
}

}  // namespace

PhaseStats DecodeLoop::prefill(Engine& engine, int64_t tokens, uint64_t seed) {
  check_prompt(engine, tokens);
  std::vector<TokenId> prompt;
  for (int64_t i = 0; i < tokens; ++i) {
    const uint64_t token = (seed + 1) * 7919 + static_cast<uint64_t>(i) * 104729;
    prompt.push_back(
        static_cast<TokenId>(token % static_cast<uint64_t>(engine.config_.vocabulary)));
  }
  struct Hold {
    KvCache& cache;
    KvHold pages;
    ~Hold() { cache.release(pages); }
  } hold{*engine.cache_, {}};
  PhaseStats stats;
  for (int64_t done = 0; done < tokens;) {
    const int64_t rows = next_prefill_rows(tokens - done, engine.prefill_chunk_);
    const std::span chunk(prompt.data() + done, static_cast<size_t>(rows));
    done += rows;
    if (engine.ctx_.timer != nullptr) engine.ctx_.timer->begin();
    engine.run(hold.pages, chunk, done == tokens, stats);
  }
  return stats;
}

OperationTimes DecodeLoop::time_prefill(Engine& engine, int64_t tokens, uint64_t seed) {
  const std::unique_ptr<OperationTimer> timer = make_operation_timer(engine.ctx_);
  const TimingOperations timing(engine.ctx_, *timer);
  prefill(engine, tokens, seed);
  return total_of(timer->finish(), engine.ctx_.backend);
}

std::span<const TokenId> DecodeLoop::last_tokens() const { return state_->tokens; }

}  // namespace dak
