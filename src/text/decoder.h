// From tokens' texts back to text: a chain of stages, each fed one token at a time, so that
// decoding a whole sequence and decoding a stream are the same computation.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/regex.h"

namespace dak {

using TextSink = std::function<void(std::string_view)>;

// The state of one stage over one sequence. A stage passes on what is certain and keeps the rest.
class DecodeStage {
 public:
  virtual ~DecodeStage() = default;
  virtual void push(std::string_view token, const TextSink& next) = 0;
  virtual void finish(const TextSink& next) = 0;
};

using DecodeStagePtr = std::unique_ptr<DecodeStage>;

// What a decoder does, as data; stages are made from it for each sequence.
class DecoderStep {
 public:
  virtual ~DecoderStep() = default;

  // `fused`: what comes in are pieces of one long token, not tokens, because a stage before this
  // one joined them.
  virtual DecodeStagePtr start(bool fused) const = 0;

  virtual bool fuses() const { return false; }
};

using DecoderStepPtr = std::unique_ptr<const DecoderStep>;

DecoderStepPtr make_byte_level_decoder();
DecoderStepPtr make_byte_fallback_decoder();
DecoderStepPtr make_fuse_decoder();
// `replacement` is one character. drop_first: those in the first token vanish; elsewhere they
// become spaces.
DecoderStepPtr make_metaspace_decoder(std::string replacement, bool drop_first);
DecoderStepPtr make_replace_decoder(std::shared_ptr<const Regex> pattern, std::string content);
DecoderStepPtr make_replace_decoder(std::string literal, std::string content);
// At most `start` of the character `content` from the front of each token, `stop` from its back.
DecoderStepPtr make_strip_decoder(std::string content, size_t start, size_t stop);
DecoderStepPtr make_join_with_spaces_decoder();  // what `tokenizers` does without a decoder

// A chain over one sequence.
class DecoderChain {
 public:
  explicit DecoderChain(const std::vector<DecoderStepPtr>& steps);

  // Appends to `out` what became certain.
  void push(std::string_view token, std::string& out);
  void finish(std::string& out);

 private:
  void push_from(size_t stage, std::string_view token, std::string& out);

  std::vector<DecodeStagePtr> stages_;
};

}  // namespace dak
