// A decode step as a CUDA graph: the forward pass of one row for each sequence, the choice of the
// most likely tokens, and these as the next step's inputs, all on the device. Steps can be launched
// before the tokens of earlier ones are read.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "base/tensor.h"
#include "ops/attention.h"
#include "ops/context.h"

namespace dak {

class DecodeGraph {
 public:
  virtual ~DecodeGraph() = default;

  // The inputs of the next step. `sequences`: as in layer 0, one row each. Needed before the first
  // launch and whenever `lost_inputs`; with no step in flight.
  virtual void set_inputs(std::span<const int32_t> tokens, std::span<const int32_t> positions,
                          const AttentionConfig& config, std::span<const KvSequence> sequences) = 0;
  // Other work has used the places of the inputs since.
  virtual bool lost_inputs() const = 0;
  // Memory that the graph uses has moved: it must be recorded again.
  virtual bool stale() const = 0;

  // Tells the device which pages the sequences have in one layer.
  virtual void set_pages(const AttentionConfig& config, std::span<const KvSequence> sequences) = 0;

  // Enqueues a step. At most kInFlight steps may be unfinished.
  virtual void launch() = 0;
  static constexpr int64_t kInFlight = 8;

  struct Step {
    std::span<const int32_t> tokens;  // chosen; good until kInFlight more steps were launched
    double seconds = 0;               // since the step before finished, or since the launch
  };
  // Waits for the oldest unfinished step. Throws kInternal when a row had no finite logit.
  virtual Step finish() = 0;
  // Waits for it and gives it up; the device's inputs no longer belong to any sequence.
  virtual void discard() = 0;
};

// `forward` enqueues the pass and returns logits [rows, vocabulary]. It is called twice: to run
// once, which brings every buffer to its place, and to be recorded. ctx.traffic ends as that of one
// pass. CUDA backend only.
std::unique_ptr<DecodeGraph> record_decode_graph(OpContext& ctx,
                                                 const std::function<Tensor()>& forward);

}  // namespace dak
