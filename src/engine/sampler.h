// Choosing the next token from logits. Order of the steps, as in Hugging Face's generate: biases,
// penalties (repetition, then frequency, then presence), temperature, top-k, top-p, min-p, draw.
// top-k keeps every token that ties with the k-th, top-p every one that ties with the last that it
// needs; a NaN logit is never chosen. Greedy ignores all but biases and penalties. What follows the
// penalties is defined in ops/token_draw.h, to the bit, for the CPU and the GPU.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/token_drawer.h"
#include "text/tokenizer.h"

namespace dak {

// Added to a token's logit before all else.
struct TokenBias {
  TokenId token = -1;
  float bias = 0;  // finite
};

struct SamplingParams {
  float temperature = 0.0f;         // 0: greedy
  int top_k = 0;                    // 0: off
  float top_p = 1.0f;               // in (0, 1]
  float min_p = 0.0f;               // in [0, 1]: share of the most likely token's probability
  float repetition_penalty = 1.0f;  // > 0; divides positive, multiplies negative logits (CTRL)
  float presence_penalty = 0.0f;    // in [-2, 2]; subtracted once for a token already generated
  float frequency_penalty = 0.0f;   // in [-2, 2]; subtracted per occurrence
  std::vector<TokenBias> logit_bias = {};  // each token once
  uint64_t seed = 0;

  // Throws kInvalidArgument naming the field, its value and the range.
  void validate() const;
  // Whether a choice depends on the tokens before it, beside the logits and their number.
  bool penalised() const {
    return repetition_penalty != 1.0f || presence_penalty != 0.0f || frequency_penalty != 0.0f;
  }
  // Whether the choice is of other logits than the model's.
  bool changes_logits() const { return penalised() || !logit_bias.empty(); }
  // All but biases and penalties.
  DrawParams draw() const {
    return {
        .temperature = temperature, .top_k = top_k, .top_p = top_p, .min_p = min_p, .seed = seed};
  }
};

// The most likely token, as a greedy Sampler without penalties chooses it. Throws kInternal when
// every logit is NaN or -inf.
TokenId most_likely(std::span<const float> logits);

class Sampler {
 public:
  explicit Sampler(const SamplingParams& params);
  const SamplingParams& params() const { return params_; }

  // Tokens of the prompt: the repetition penalty sees them, presence and frequency do not.
  void observe_prompt(std::span<const TokenId> tokens);

  // Next token for `logits` [vocabulary], which it remembers. Throws kInternal when every logit is
  // NaN or -inf. The draw depends on params.seed and the number of tokens before it (the prompt's
  // and those chosen): same seed, same logits, same tokens on every machine.
  TokenId sample(std::span<const float> logits);

  // Remembers a token that a GPU chose as `sample` would have.
  void accept(TokenId token);

  // Natural-log probability of `token` under the unmodified logits.
  static float log_probability(std::span<const float> logits, TokenId token);

 private:
  std::span<const float> changed(std::span<const float> logits);

  SamplingParams params_;
  uint64_t length_ = 0;  // of the sequence: the prompt's tokens and those chosen
  struct Count {
    int32_t prompted = 0;
    int32_t generated = 0;
  };
  // Of the tokens that there were; kept for penalties alone. (As large as the vocabulary, hundreds
  // of sequences that begin together wait for their zeros: 75 ms for 512 of 128,256.)
  std::unordered_map<TokenId, Count> counts_;
  std::vector<float> changed_;  // logits after biases and penalties, by token id
  TokenDrawer drawer_;
};

}  // namespace dak
