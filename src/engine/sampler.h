// Choosing the next token from logits. Order of the steps, as in Hugging Face's generate:
// penalties (repetition, then frequency, then presence), temperature, top-k, top-p, min-p, draw.
// As there, top-k keeps every token that ties with the k-th, top-p the least set of likely tokens
// whose mass reaches it; a NaN logit is never chosen. Greedy ignores all but the penalties.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "text/tokenizer.h"

namespace dak {

struct SamplingParams {
  float temperature = 0.0f;         // 0: greedy
  int top_k = 0;                    // 0: off
  float top_p = 1.0f;               // in (0, 1]
  float min_p = 0.0f;               // in [0, 1]: share of the most likely token's probability
  float repetition_penalty = 1.0f;  // > 0; divides positive, multiplies negative logits (CTRL)
  float presence_penalty = 0.0f;    // in [-2, 2]; subtracted once for a token already generated
  float frequency_penalty = 0.0f;   // in [-2, 2]; subtracted per occurrence
  uint64_t seed = 0;

  // Throws kInvalidArgument naming the field, its value and the range.
  void validate() const;
  // Whether every choice is the most likely token of the unmodified logits.
  bool plain_greedy() const { return temperature == 0.0f && !penalised(); }
  bool penalised() const {
    return repetition_penalty != 1.0f || presence_penalty != 0.0f || frequency_penalty != 0.0f;
  }
};

// The most likely token, as a greedy Sampler without penalties chooses it. Throws kInternal when
// every logit is NaN or -inf.
TokenId most_likely(std::span<const float> logits);

class Sampler {
 public:
  explicit Sampler(const SamplingParams& params);

  // Tokens of the prompt: the repetition penalty sees them, presence and frequency do not.
  void observe_prompt(std::span<const TokenId> tokens);

  // Next token for `logits` [vocabulary]; ties go to the lower id. Remembers the token. Throws
  // kInternal when every logit is NaN or -inf. The draw depends on params.seed and the number of
  // calls so far alone: same seed, same logits, same tokens on every machine.
  TokenId sample(std::span<const float> logits);

  // Natural-log probability of `token` under the unmodified logits.
  static float log_probability(std::span<const float> logits, TokenId token);

 private:
  void apply_penalties();
  TokenId draw();
  void keep_top_k();
  void keep_top_p();
  double weight_of(uint64_t key) const;
  double total_weight() const;

  SamplingParams params_;
  std::mt19937_64 random_;
  std::vector<int32_t> prompt_counts_;  // by token id, grown on demand
  std::vector<int32_t> generated_counts_;
  std::vector<float> scratch_;   // logits after penalties, by token id
  std::vector<uint64_t> order_;  // keys of candidates, most likely first once a filter sorted them
  std::vector<double> weights_;  // by token id: probability over that of the most likely token
};

}  // namespace dak
