// Log-probabilities of tokens, natural and under the unmodified logits: before penalties, biases,
// constraints and temperature.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "text/tokenizer.h"

namespace dak {

struct TokenLogprob {
  TokenId token = -1;
  float logprob = 0;
};
inline constexpr int kMostTopLogprobs = 20;

// What a model said of one token of a text before it came.
struct TokenChances {
  float logprob = 0;              // the token's own; -inf where the logits are no numbers
  int64_t rank = 0;               // see rank_of; 0 where it is not asked for
  std::vector<TokenLogprob> top;  // the most likely tokens, the likeliest first
};

// `logits` [vocabulary]; `top`: how many of the most likely tokens. Of two as likely the smaller id
// comes first. One pass over the logits for their sum, and one for the others; no rank.
TokenChances token_chances(std::span<const float> logits, TokenId token, int top);

// 1: no token is more likely; 0: the logits are no numbers.
int64_t rank_of(std::span<const float> logits, TokenId token);

}  // namespace dak
