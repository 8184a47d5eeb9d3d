// Decode steps of a fixed set of sequences: each step takes every sequence's last token, and
// chooses the next one. On a GPU a step is a launch of the engine's graph for so many sequences or
// a few more (step_rows.h). Unless a sampler changes the logits (biases, penalties), the graph
// chooses too, by the samplers' own rule, and steps may be enqueued ahead of reading their tokens.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <span>
#include <utility>
#include <vector>

#include "engine/engine.h"

namespace dak {

class Decoder {
 public:
  // Chooses a sequence's next token on the host, for logits [vocabulary]; called from the engine's
  // threads, for different sequences at the same time.
  using ChooseFn = std::function<TokenId(int64_t sequence, std::span<const float> logits)>;

  // The sequences go on from `tokens`, their last ones, which are not in the cache yet. `samplers`:
  // one for each, which has seen all tokens of its sequence; none: greedy. With `choose` that is
  // asked instead of the samplers, always on the host. Engine, holds and samplers outlive this.
  Decoder(Engine& engine, std::vector<KvHold*> holds, std::vector<TokenId> tokens,
          std::vector<Sampler*> samplers = {}, ChooseFn choose = {});
  ~Decoder();
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  // Steps that it pays to have in flight beside the one that is being waited for. None while a tier
  // is to be given back, which takes place with no step in flight.
  int64_t ahead() const { return on_device() && !engine_.revoke_wanted_ ? 1 : 0; }
  int64_t in_flight() const { return std::ssize(pending_); }

  // Enqueues a step, which adds a token to every sequence's cache. Throws kResourceExhausted when
  // the cache has no room for it.
  void enqueue();

  struct Step {
    // [sequences]; good until the next call. kNoToken: nothing to choose from, and this sequence
    // must not go on.
    std::span<const TokenId> tokens;
    double seconds = 0;
    TierTraffic traffic;

    // Throws nothing_to_choose() if that is so of any sequence.
    void check() const;
  };
  // Waits for the oldest step in flight; the samplers then know its tokens.
  Step finish();

  // A step's inputs: each of the `tokens` after what its sequence has cached. Rows without a hold
  // are padding: they belong to no sequence.
  static Batch batch_of(const Engine& engine, std::span<KvHold* const> holds,
                        std::span<const TokenId> tokens);

  // Waits for what is in flight and takes it back: caches and samplers are as if never enqueued.
  void drop();

 private:
  using Clock = std::chrono::steady_clock;
  struct Pending {
    TierTraffic traffic;
    Clock::time_point enqueued;
  };

  bool on_device() const { return graph_ != nullptr && choice_ == TokenChoice::kDevice; }
  Engine::StepGraph& step_graph() const;
  void assign_rows();
  void fill_batch();
  void prepare_graph();
  void tell_pages();
  void set_inputs();
  void choose(std::span<const float> logits);

  Engine& engine_;
  std::vector<KvHold*> holds_;
  std::vector<Sampler*> samplers_;
  ChooseFn choose_;
  std::vector<int64_t> row_of_;      // of each hold; those of the last decoder keep their rows
  std::vector<KvHold*> row_holds_;   // [rows] null: padding
  std::vector<TokenId> row_tokens_;  // [rows]
  Batch batch_;                      // the next step; its tokens are the last ones read
  // Of each row's hold what the graph knows: its version, and its whole pages, which mode prefetch
  // copies.
  std::vector<int64_t> versions_told_;
  std::vector<int64_t> whole_told_;
  TokenChoice choice_ = TokenChoice::kHost;
  DecodeGraph* graph_ = nullptr;
  std::span<const float> logits_;  // without a graph: of the step in flight
  std::deque<Pending> pending_;    // steps in flight
  std::vector<TokenId> tokens_;    // of the last step finished
};

}  // namespace dak
