// A decode step as a CUDA graph: the forward pass of one row for each sequence and, where the
// device chooses the tokens, their draw (ops/token_draw.h), after which they are the next step's
// inputs. Such steps can be launched before the tokens of earlier ones are read.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "base/tensor.h"
#include "ops/attention.h"
#include "ops/context.h"
#include "ops/token_draw.h"

namespace dak {

enum class TokenChoice : uint8_t {
  kDevice,  // the step ends with tokens, which the device feeds back
  kHost,    // the step ends with logits on the host, which sets the inputs of every step
};

class DecodeGraph {
 public:
  virtual ~DecodeGraph() = default;

  // The inputs of the next step, one row for each sequence. `sequences`: as in layer 0. `draws`:
  // how the device draws each row's token; the host's choice has none. Needed before the first
  // launch and whenever `lost_inputs`, with kHost before every launch; with no step in flight.
  virtual void set_inputs(std::span<const int32_t> tokens, std::span<const int32_t> positions,
                          const AttentionConfig& config, std::span<const KvSequence> sequences,
                          std::span<const DrawParams> draws) = 0;
  // Other work has used the places of the inputs since.
  virtual bool lost_inputs() const = 0;
  // Memory that the graph uses has moved: it must be recorded again.
  virtual bool stale() const = 0;

  // Tells the device which pages the sequences have in one layer. Needed for all layers whenever
  // pages have changed, and before `set_inputs`.
  virtual void set_pages(const AttentionConfig& config, std::span<const KvSequence> sequences) = 0;

  // Enqueues a step. At most kInFlight steps may be unfinished, one where the host chooses.
  virtual void launch() = 0;
  static constexpr int64_t kInFlight = 8;

  struct Step {
    // kDevice; good until kInFlight more steps were launched. -1: every logit of the row was NaN or
    // -inf, and the row goes on from token 0.
    std::span<const int32_t> tokens;
    std::span<const float> logits;  // kHost, [rows, vocabulary]; good until the next operation
    double seconds = 0;             // since the step before finished, or since the launch
  };
  // Waits for the oldest unfinished step.
  virtual Step finish() = 0;
  // Waits for it and gives it up; the device's inputs no longer belong to any sequence.
  virtual void discard() = 0;
};

// `forward` enqueues the pass of one row for each sequence and returns logits [rows, vocabulary] of
// every row, in order. It is called twice: to run
// once, which brings every buffer to its place, and to be recorded. ctx.traffic ends as that of one
// pass. CUDA backend only.
std::unique_ptr<DecodeGraph> record_decode_graph(OpContext& ctx, TokenChoice choice,
                                                 const std::function<Tensor()>& forward);

}  // namespace dak
