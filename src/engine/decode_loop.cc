#include "engine/decode_loop.h"

#include "engine/decoder.h"

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
  const int64_t page_values =
      AttentionConfig{.kv_heads = engine.config_.kv_heads, .head_size = engine.config_.head_size}
          .page_values();
  int64_t written = 0;
  for (KvHold& hold : state_->holds) {
    engine.cache_->reserve(hold, past);
    for (const std::vector<KvPage>& pages : hold.pages) {
      for (const KvPage& page : pages) {
        engine.weights_->arena(page.tier).fill_random(page.data,
                                                      {.seed = seed,
                                                       .first_index = written++ * page_values,
                                                       .count = page_values,
                                                       .dtype = engine.cache_->dtype()});
      }
    }
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
    timing.step_seconds.push_back(step.seconds);
    timing.traffic.add_all(step.traffic);
    state_->tokens.assign(step.tokens.begin(), step.tokens.end());
  }
  return timing;
}

std::span<const TokenId> DecodeLoop::last_tokens() const { return state_->tokens; }

}  // namespace dak
