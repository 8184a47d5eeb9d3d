// Decode steps of a fixed set of sequences: each step takes every sequence's last token, and
// chooses the most likely next one. On a GPU a step is a launch of the engine's graph for so many
// sequences, and steps may be enqueued ahead of reading their tokens.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "engine/engine.h"

namespace dak {

class Decoder {
 public:
  // The sequences go on from `tokens`, their last ones, which are not in the cache yet. Engine and
  // holds outlive this.
  Decoder(Engine& engine, std::vector<KvHold*> holds, std::vector<TokenId> tokens);
  ~Decoder();
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  // Steps that it pays to have in flight beside the one that is being waited for.
  int64_t ahead() const { return graph_ == nullptr ? 0 : 1; }
  int64_t in_flight() const { return std::ssize(pending_); }

  // Enqueues a step, which adds a token to every sequence's cache. Throws kResourceExhausted when
  // the cache has no room for it.
  void enqueue();

  struct Step {
    std::span<const TokenId> tokens;  // [sequences]; good until the next call
    double seconds = 0;
    TierTraffic traffic;
  };
  // Waits for the oldest step in flight.
  Step finish();

  // A step's inputs: each of the `tokens` after what its sequence has cached.
  static Batch batch_of(const Engine& engine, std::span<KvHold* const> holds,
                        std::span<const TokenId> tokens);

  // Waits for what is in flight and takes it back: the caches are as if never enqueued.
  void drop();

 private:
  struct Pending {
    TierTraffic traffic;
    double seconds = 0;           // CPU only
    std::vector<TokenId> tokens;  // CPU only
  };

  void fill_batch();
  void prepare_graph();
  void tell_pages();

  Engine& engine_;
  std::vector<KvHold*> holds_;
  Batch batch_;  // the inputs of the next step; on a GPU its tokens are those of the start
  std::vector<int64_t> pages_told_;  // versions of the holds
  DecodeGraph* graph_ = nullptr;
  bool inputs_set_ = false;      // the device's inputs are these sequences'
  std::deque<Pending> pending_;  // steps in flight
  std::vector<TokenId> tokens_;  // of the last step finished
};

}  // namespace dak
