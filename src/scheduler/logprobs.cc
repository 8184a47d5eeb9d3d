#include "scheduler/logprobs.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/sampler.h"

namespace dak {

int64_t rank_of(std::span<const float> logits, TokenId token) {
  if (!any_to_choose(logits)) return 0;
  const float own = logits[static_cast<size_t>(token)];
  return 1 + std::ranges::count_if(logits, [own](float logit) {
           return logit > own || (std::isnan(own) && !std::isnan(logit));
         });
}

// All by their distance from the most likely one, so that the sum is made once.
TokenChances token_chances(std::span<const float> logits, TokenId token, int top) {
  TokenChances chances;
  if (!any_to_choose(logits)) {
    chances.logprob = -std::numeric_limits<float>::infinity();
    return chances;
  }
  const TokenId best = most_likely(logits);
  const float best_logprob = Sampler::log_probability(logits, best);
  const float best_logit = logits[static_cast<size_t>(best)];
  const auto logprob_of = [&](TokenId other) {
    const float logit = logits[static_cast<size_t>(other)];
    if (std::isinf(best_logit) || !std::isfinite(logit)) {
      return Sampler::log_probability(logits, other);
    }
    return static_cast<float>(double{best_logprob} + (double{logit} - double{best_logit}));
  };
  chances.logprob = logprob_of(token);
  const auto count = std::min(static_cast<size_t>(std::max(0, top)), logits.size());
  if (count == 0) return chances;
  const auto more_likely = [](const TokenLogprob& a, const TokenLogprob& b) {
    return a.logprob != b.logprob ? a.logprob > b.logprob : a.token < b.token;
  };
  std::vector<TokenLogprob>& heap = chances.top;  // the best so far, the least of them in front
  for (size_t i = 0; i < logits.size(); ++i) {
    const TokenLogprob next{.token = static_cast<TokenId>(i), .logprob = logits[i]};
    if (std::isnan(next.logprob)) continue;
    if (heap.size() == count && !more_likely(next, heap.front())) continue;
    if (heap.size() == count) {
      std::ranges::pop_heap(heap, more_likely);
      heap.pop_back();
    }
    heap.push_back(next);
    std::ranges::push_heap(heap, more_likely);
  }
  std::ranges::sort(heap, more_likely);
  for (TokenLogprob& entry : heap) entry.logprob = logprob_of(entry.token);
  return chances;
}

}  // namespace dak
