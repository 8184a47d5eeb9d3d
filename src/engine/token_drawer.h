// The draw of ops/token_draw.h on the CPU.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "ops/token_draw.h"
#include "text/tokenizer.h"

namespace dak {

// In the place of a token: every logit was NaN or -inf, so there was nothing to choose from.
inline constexpr TokenId kNoToken = -1;
bool any_to_choose(std::span<const float> logits);
Error nothing_to_choose();

// The lowest id of the largest logit; NaN is never larger. Throws nothing_to_choose().
TokenId most_likely(std::span<const float> logits);

class TokenDrawer {
 public:
  // The token after `index` others for `logits` [vocabulary]. Throws as most_likely does.
  TokenId draw(std::span<const float> logits, const DrawParams& params, uint64_t index);

 private:
  struct Candidate {
    float gap;
    TokenId token;
    uint64_t weight;
  };

  void find_candidates(std::span<const float> logits, float temperature);
  void drop_wider(float gap);
  uint64_t total_weight() const;
  template <typename Measure>
  float gap_reaching(uint64_t needed, const Measure& measure);

  float inverse_temperature_ = 1;
  std::vector<Candidate> candidates_;  // what can be drawn, by ascending id
  std::vector<Candidate> bin_;         // scratch of gap_reaching
};

}  // namespace dak
