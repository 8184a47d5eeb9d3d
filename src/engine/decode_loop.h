// Decode steps of several sequences side by side, each step feeding on the tokens that the one
// before chose. What `dak bench` measures. On a GPU a step is one launch of a CUDA graph, the
// choice of the next tokens included unless the host has to make it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/engine.h"
#include "engine/operation_times.h"

namespace dak {

struct DecodeTiming {
  std::vector<double> step_seconds;  // of each step
  TierTraffic traffic;               // weight and KV bytes read by all of them together
};

class DecodeLoop {
 public:
  // `sequences` of `past` tokens each, whose keys and values are random numbers from `seed`. The
  // seed of `sampling` is the first sequence's, and one more for each of the others. Throws
  // kInvalidArgument when engine.sequences() or the context is too small.
  DecodeLoop(Engine& engine, int64_t sequences, int64_t past, uint64_t seed,
             const SamplingParams& sampling = {});
  ~DecodeLoop();
  DecodeLoop(const DecodeLoop&) = delete;
  DecodeLoop& operator=(const DecodeLoop&) = delete;

  // Runs `steps` steps back to back and returns once the last has finished. Throws
  // kResourceExhausted when the context is full: see rewind.
  DecodeTiming run(int64_t steps);
  // Back to `past` tokens, so that every measurement sees the same context.
  void rewind();

  std::span<const TokenId> last_tokens() const;  // [sequences]

  // The next step `steps` times over with its operations timed one by one; no step may be in
  // flight, and the sequences stay as they are.
  OperationTimes time_operations(int64_t steps);

  // A prompt of random tokens, in the engine's chunks, from an empty cache to the logits of the
  // last one. Gives its pages back.
  static PhaseStats prefill(Engine& engine, int64_t tokens, uint64_t seed);
  // The same with its operations timed one by one.
  static OperationTimes time_prefill(Engine& engine, int64_t tokens, uint64_t seed);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dak
