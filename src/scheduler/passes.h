// Forward passes over the sequences of a scheduler: mixed ones, of prompts' tokens and of others'
// next tokens, and decode steps alone, which a GPU takes from a recorded graph.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "engine/decoder.h"
#include "scheduler/sequence.h"

namespace dak {

class ServingPasses {
 public:
  explicit ServingPasses(Engine& engine) : engine_(engine) {}

  KvCache& cache() { return *engine_.cache_; }
  // Rows and sequences of a pass.
  int64_t most_rows() const { return engine_.workspace_->max_rows(); }
  int64_t most_sequences() const { return engine_.sequences_; }
  int64_t prefill_chunk() const { return engine_.prefill_chunk_; }

  struct Part {
    ServingSequence* sequence = nullptr;
    int64_t rows = 0;               // of its tokens after those in the cache
    std::optional<TokenId> chosen;  // out: what comes next, once all its tokens have been run
  };
  // One pass; the cache has room for it, and no decode step is in flight.
  void run(std::span<Part> parts);

  // Decode steps of a set of sequences until `end_decode`; the cache has room for each step.
  void begin_decode(std::span<ServingSequence* const> sequences);
  std::span<ServingSequence* const> decoding() const { return decoding_; }
  int64_t in_flight() const { return decoder_ == nullptr ? 0 : decoder_->in_flight(); }
  int64_t ahead() const { return decoder_->ahead(); }
  void enqueue() { decoder_->enqueue(); }
  // The tokens of the oldest step in flight, in the order of `decoding`; good until the next call.
  std::span<const TokenId> finish();
  // Takes back what is in flight.
  void end_decode();

  // Tiers that are to be given back; no decode step is in flight.
  void take_revokes() { engine_.take_revokes(); }

  // Since the start.
  const TierTraffic& traffic() const { return traffic_; }
  // Waits for what is in flight. Zero on the CPU.
  std::array<LinkStatus, kMaxTiers> links() const;

 private:
  // A row of the pass whose logits tell of a prompt's token.
  struct PromptRow {
    int32_t row = 0;
    ServingSequence* sequence = nullptr;
    int64_t position = 0;
  };
  void note_prompts(std::span<const PromptRow> rows);

  Engine& engine_;
  std::vector<ServingSequence*> decoding_;
  std::unique_ptr<Decoder> decoder_;
  TierTraffic traffic_;
};

}  // namespace dak
