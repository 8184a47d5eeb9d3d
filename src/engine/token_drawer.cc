#include "engine/token_drawer.h"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>

namespace dak {
namespace {

// Bins of scaled gaps, fine enough that one holds few of a vocabulary.
constexpr float kBinsPerUnit = 64;
constexpr size_t kBins = static_cast<size_t>(kDrawReach * kBinsPerUnit) + 1;

}  // namespace

bool any_to_choose(std::span<const float> logits) {
  return std::ranges::any_of(
      logits, [](float logit) { return logit > -std::numeric_limits<float>::infinity(); });
}

Error nothing_to_choose() {
  return {ErrorCode::kInternal,
          {.where = "choice of a token",
           .field = "logits",
           .value = {},
           .problem = "every logit is NaN or -inf",
           .fix = "check the weights with --check-weights"}};
}

TokenId most_likely(std::span<const float> logits) {
  float best = -std::numeric_limits<float>::infinity();
  size_t token = logits.size();
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > best) {
      best = logits[i];
      token = i;
    }
  }
  if (token == logits.size()) throw nothing_to_choose();
  return static_cast<TokenId>(token);
}

TokenId TokenDrawer::draw(std::span<const float> logits, const DrawParams& params, uint64_t index) {
  if (params.temperature == 0.0f) return most_likely(logits);
  find_candidates(logits, params.temperature);
  const auto k = static_cast<uint64_t>(params.top_k);
  if (k > 0 && k < candidates_.size()) {
    drop_wider(gap_reaching(k, [](const Candidate&) { return uint64_t{1}; }));
  }
  for (Candidate& candidate : candidates_) {
    candidate.weight = draw_weight(scaled_gap(candidate.gap, inverse_temperature_));
  }
  const auto weight = [](const Candidate& candidate) { return candidate.weight; };
  if (params.top_p < 1.0f) {
    drop_wider(gap_reaching(nucleus_weight(total_weight(), params.top_p), weight));
  }
  const uint64_t least = least_draw_weight(params.min_p);
  std::erase_if(candidates_, [least](const Candidate& c) { return c.weight < least; });

  uint64_t target = draw_target(total_weight(), params.seed, index);
  auto drawn = candidates_.begin();
  for (; target >= drawn->weight; ++drawn) target -= drawn->weight;
  return drawn->token;
}

void TokenDrawer::find_candidates(std::span<const float> logits, float temperature) {
  const float largest = logits[static_cast<size_t>(most_likely(logits))];
  inverse_temperature_ = 1.0f / temperature;
  candidates_.resize(logits.size());
  size_t count = 0;
  for (size_t i = 0; i < logits.size(); ++i) {  // without a branch, which would be taken at random
    const float gap = draw_gap(largest, logits[i]);
    candidates_[count] = {.gap = gap, .token = static_cast<TokenId>(i), .weight = 0};
    count += can_be_drawn(scaled_gap(gap, inverse_temperature_)) ? 1 : 0;
  }
  candidates_.resize(count);
}

void TokenDrawer::drop_wider(float gap) {
  std::erase_if(candidates_, [gap](const Candidate& c) { return c.gap > gap; });
}

uint64_t TokenDrawer::total_weight() const {
  return std::accumulate(candidates_.begin(), candidates_.end(), uint64_t{0},
                         [](uint64_t sum, const Candidate& c) { return sum + c.weight; });
}

// The least gap up to which the candidates measure `needed`, which all together do: sums of bins
// say in which bin it lies, and only that one is sorted.
template <typename Measure>
float TokenDrawer::gap_reaching(uint64_t needed, const Measure& measure) {
  const auto bin_of = [this](const Candidate& candidate) {
    return static_cast<size_t>(scaled_gap(candidate.gap, inverse_temperature_) * kBinsPerUnit);
  };
  std::array<uint64_t, kBins> sums{};
  for (const Candidate& candidate : candidates_) sums[bin_of(candidate)] += measure(candidate);
  size_t bin = 0;
  for (; needed > sums[bin]; ++bin) needed -= sums[bin];

  bin_.clear();
  std::copy_if(candidates_.begin(), candidates_.end(), std::back_inserter(bin_),
               [&](const Candidate& candidate) { return bin_of(candidate) == bin; });
  std::sort(bin_.begin(), bin_.end(),
            [](const Candidate& a, const Candidate& b) { return a.gap < b.gap; });
  auto last = bin_.begin();
  for (; needed > measure(*last); ++last) needed -= measure(*last);
  return last->gap;
}

}  // namespace dak
