// A decode step as a CUDA graph: the forward pass of one row for each sequence and the draw of
// their tokens (ops/token_draw.h), after which they are the next step's inputs. Such steps can be
// launched before the tokens of earlier ones are read. Rows may be padding, of no sequence
// (kPaddingPast): so one graph serves several numbers of sequences.
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
  kHost,    // the step ends with logits on the host, which sets the inputs of every step; the draw
            // of the device counts for nothing
};

class DecodeGraph {
 public:
  virtual ~DecodeGraph() = default;

  // The inputs of the next step, one row for each sequence. `sequences`: as in layer 0. `draws`:
  // how the device draws each row's token; none: the host chooses (TokenChoice) from here on.
  // Needed before the first launch and whenever `lost_inputs`, with kHost before every launch; with
  // no step in flight.
  virtual void set_inputs(std::span<const int32_t> tokens, std::span<const int32_t> positions,
                          const AttentionConfig& config, std::span<const KvSequence> sequences,
                          std::span<const DrawParams> draws) = 0;
  // Other work has used the places of the inputs since.
  virtual bool lost_inputs() const = 0;
  // Memory that the graph uses has moved: it must be recorded again.
  virtual bool stale() const = 0;

  // Tells the device, from the next launch on, which pages the sequences have in one layer. Needed
  // for all layers whenever pages have changed. Graphs of one engine share the tables, and only
  // what has changed in them goes up. `versions`: a number for each row's pages, the same only if
  // they are (0: it has none); rows with last time's are not even looked at. Empty: all are.
  virtual void set_pages(const AttentionConfig& config, std::span<const KvSequence> sequences,
                         std::span<const int64_t> versions = {}) = 0;

  // Enqueues a step. At most kInFlight steps may be unfinished, one where the host chooses.
  virtual void launch() = 0;
  static constexpr int64_t kInFlight = 8;

  struct Step {
    // kDevice; good until kInFlight more steps were launched. -1: every logit of the row was NaN or
    // -inf, and the row goes on from token 0. Nothing is drawn for padding.
    std::span<const int32_t> tokens;
    std::span<const float> logits;  // kHost, [rows, vocabulary]; good until the next operation
    double seconds = 0;             // since the step before finished, or since the launch
  };
  // Waits for the oldest unfinished step.
  virtual Step finish() = 0;
  // Waits for it and gives it up; the device's inputs no longer belong to any sequence.
  virtual void discard() = 0;
};

// `forward` enqueues a pass of `rows` rows, one for each sequence, and returns logits
// [rows, vocabulary] of every row, in order. It is recorded; before that it is run once if that is
// what brings buffers to their places: the first time, for more rows than before, after memory has
// moved. ctx.traffic ends as that of one pass. CUDA backend only.
std::unique_ptr<DecodeGraph> record_decode_graph(OpContext& ctx, int64_t rows,
                                                 const std::function<Tensor()>& forward);

// Room for steps of up to `sequences` rows and for other passes of up to `rows` rows: else a pass
// that needs more room than those before it makes recorded steps stale. `config`: with table_pages;
// any layer's.
void reserve_decode_graphs(OpContext& ctx, const AttentionConfig& config, int64_t sequences,
                           int64_t rows);

}  // namespace dak
