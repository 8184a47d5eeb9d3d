// What sampling must do, by definition, whether counts of draws agree, and random cases of it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "engine/sampler.h"

namespace dak::test {

// Probability of each token by the definitions, with a full sort: what Hugging Face's processors
// do, but for ties with the last token of the nucleus, which are kept.
inline std::vector<double> token_probabilities(const std::vector<float>& logits,
                                               const SamplingParams& params) {
  std::vector<size_t> order(logits.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return logits[a] > logits[b]; });
  std::vector<double> p(logits.size(), 0.0);
  const double largest = logits[order[0]];
  const auto k = params.top_k > 0 ? static_cast<size_t>(params.top_k) : logits.size();
  for (const size_t i : order) {
    if (k < order.size() && logits[i] < logits[order[k - 1]]) continue;
    p[i] = std::exp((static_cast<double>(logits[i]) - largest) /
                    static_cast<double>(params.temperature));
  }
  const auto normalise = [&p] {
    const double total = std::accumulate(p.begin(), p.end(), 0.0);
    for (double& value : p) value /= total;
  };
  normalise();
  double before = 0;
  float last = logits[order[0]];
  for (const size_t i : order) {
    const double own = p[i];
    if (params.top_p < 1 && before >= static_cast<double>(params.top_p) && logits[i] < last) {
      p[i] = 0;
    } else {
      last = logits[i];
    }
    before += own;
  }
  normalise();
  const double most = p[order[0]];
  for (double& value : p) {
    if (value < static_cast<double>(params.min_p) * most) value = 0;
  }
  normalise();
  return p;
}

// Chi-squared statistic as a standard normal deviate (Wilson and Hilferty, 1931): above 4 once in
// 30,000 seeds.
inline double chi_squared_deviate(const std::vector<int>& counts,
                                  const std::vector<double>& probability) {
  const double draws = std::accumulate(counts.begin(), counts.end(), 0.0);
  double statistic = 0;
  double cells = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (probability[i] == 0) {
      if (counts[i] != 0) return std::numeric_limits<double>::infinity();
      continue;
    }
    const double expected = probability[i] * draws;
    statistic += (counts[i] - expected) * (counts[i] - expected) / expected;
    cells += 1;
  }
  const double freedom = cells - 1;
  if (freedom < 1) return 0;
  const double spread = 2 / (9 * freedom);
  return (std::cbrt(statistic / freedom) - (1 - spread)) / std::sqrt(spread);
}

template <typename T>
T one_of(std::mt19937& random, const std::vector<T>& values) {
  return values[random() % values.size()];
}

// One row: flat, peaked or spread; some kinds with ties, infinities, NaN, or few likely tokens. At
// least one token can be drawn.
inline std::vector<float> random_logits(std::mt19937& random, size_t vocabulary) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const float spread = one_of<float>(random, {0, 0.001f, 1, 3, 8, 100});
  const uint32_t kind = random() % 6;
  std::normal_distribution<float> normal(0, 1);
  std::vector<float> logits(vocabulary);
  for (float& logit : logits) {
    logit = normal(random) * spread;
    if (kind == 1) logit = std::round(logit * 4) / 4;
    if (kind == 2 && random() % 4 == 0) logit = random() % 2 == 0 ? -kInf : std::nanf("");
    if (kind == 3 && random() % 60 == 0) logit = random() % 2 == 0 ? kInf : -3e38f;
    if (kind == 4 && random() % 1000 == 0) logit += 8 * spread;
  }
  logits[random() % vocabulary] = 0.5f;
  return logits;
}

// Every combination of filters, most of them off at a time; temperatures that overflow too, and 0.
inline DrawParams random_draw(std::mt19937& random) {
  return {
      .temperature = one_of<float>(random, {0, 0.1f, 0.7f, 1, 1.3f, 2.5f, 50, 1e-45f, 1e6f, 3e38f}),
      .top_k = one_of<int32_t>(random, {0, 0, 0, 1, 2, 5, 40, 1000, 100000}),
      .top_p = one_of<float>(random, {1, 1, 1e-45f, 0.01f, 0.5f, 0.9f, 0.99f, 1 - 0x1p-24f}),
      .min_p = one_of<float>(random, {0, 0, 0, 1e-12f, 0.01f, 0.5f, 1}),
      .seed = random()};
}

// What draws are compared with their definition for: each rule alone and together.
inline std::vector<SamplingParams> distribution_cases() {
  return {
      {.temperature = 1},
      {.temperature = 0.5f},
      {.temperature = 2.5f},
      {.temperature = 0.8f, .top_k = 5},
      {.temperature = 0.8f, .top_p = 0.8f},
      {.temperature = 1.3f, .min_p = 0.1f},
      {.temperature = 1.1f, .top_k = 12, .top_p = 0.9f, .min_p = 0.02f},
  };
}

}  // namespace dak::test
