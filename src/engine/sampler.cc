#include "engine/sampler.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <string_view>

#include "base/error.h"

namespace dak {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

// Ids come from a tokenizer; this only keeps a bad one from growing the counts without bound.
constexpr TokenId kMaxToken = 1 << 28;

constexpr std::array<double, 14> inverse_factorials() {
  std::array<double, 14> values{};
  double factorial = 1;
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = 1 / factorial;
    factorial *= static_cast<double>(i + 1);
  }
  return values;
}

// e^x for x <= 0 from IEEE operations alone: libraries' exp differ in the last bit, and a seed must
// give the same tokens on every machine. Within 2 units of the last place; 0 below -700. Cody-Waite
// reduction by ln 2 in two parts, then the Taylor series to degree 13 on [-0.35, 0.35].
double exp_non_positive(double x) {
  constexpr double kLog2E = 0x1.71547652b82fep+0;
  constexpr double kLn2High = 0x1.62e42feep-1;  // 32 bits: its product with n is exact
  constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
  constexpr double kRound = 0x1.8p52;  // adding it leaves the nearest integer in the low bits
  static constexpr std::array<double, 14> kInverseFactorials = inverse_factorials();
  const double shifted = x * kLog2E + kRound;
  const double n = shifted - kRound;
  const double r = (x - n * kLn2High) - n * kLn2Low;
  double series = kInverseFactorials.back();
  for (size_t i = kInverseFactorials.size() - 1; i-- > 0;) {
    series = series * r + kInverseFactorials[i];
  }
  const uint64_t bits = std::bit_cast<uint64_t>(series) + (std::bit_cast<uint64_t>(shifted) << 52);
  return x < -700.0 ? 0.0 : std::bit_cast<double>(bits);  // below, `bits` mean nothing
}

// Probability of a logit over that of the largest, which is finite.
double weight(float logit, float largest, double temperature) {
  return exp_non_positive((static_cast<double>(logit) - static_cast<double>(largest)) /
                          temperature);
}

// A candidate as one integer, in the order of likelihood: larger logit first, then lower id.
// Sorting these is several times faster than sorting ids by a look-up, and alike with every
// library.
uint64_t key_of(float logit, size_t token) {
  const auto bits = std::bit_cast<uint32_t>(logit + 0.0f);  // -0 ties with 0
  const uint32_t ascending = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return static_cast<uint64_t>(~ascending) << 32 | token;
}

size_t token_of(uint64_t key) { return static_cast<size_t>(key & 0xffffffffu); }

// std::partial_sort, whose heap is the fastest way to a few of many and a slow way to many of many.
template <typename Iterator>
void sort_front(Iterator begin, Iterator middle, Iterator end) {
  if ((middle - begin) * 64 < end - begin) {
    std::partial_sort(begin, middle, end);
    return;
  }
  if (middle != end) std::nth_element(begin, middle, end);
  std::sort(begin, middle);
}

void count(std::vector<int32_t>& counts, TokenId token) {
  require(token >= 0 && token < kMaxToken, "token id out of range");
  const auto index = static_cast<size_t>(token);
  if (index >= counts.size()) counts.resize(index + 1);
  ++counts[index];
}

void check(bool valid, std::string_view field, double value, std::string_view problem,
           std::string_view fix) {
  if (!valid) throw_invalid("sampling", field, fmt::format("{}", value), problem, fix);
}

}  // namespace

// Lowest id of the largest logit; NaN is never larger.
TokenId most_likely(std::span<const float> logits) {
  float best = kNever;
  size_t token = logits.size();
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > best) {
      best = logits[i];
      token = i;
    }
  }
  require(token != logits.size(), "every logit is NaN or -inf");
  return static_cast<TokenId>(token);
}

void SamplingParams::validate() const {
  // Written so that NaN fails.
  check(temperature >= 0.0f && std::isfinite(temperature), "temperature", temperature,
        "is not a finite number from 0", "use 0 for greedy, or e.g. 0.7");
  check(top_k >= 0, "top_k", top_k, "is negative", "use 0 for off, or e.g. 40");
  check(top_p > 0.0f && top_p <= 1.0f, "top_p", top_p, "is not above 0 and at most 1",
        "use 1 for off, or e.g. 0.95");
  check(min_p >= 0.0f && min_p <= 1.0f, "min_p", min_p, "is not from 0 to 1",
        "use 0 for off, or e.g. 0.05");
  check(repetition_penalty > 0.0f && std::isfinite(repetition_penalty), "repetition_penalty",
        repetition_penalty, "is not a finite number above 0", "use 1 for off, or e.g. 1.1");
  check(presence_penalty >= -2.0f && presence_penalty <= 2.0f, "presence_penalty", presence_penalty,
        "is not from -2 to 2", "use 0 for off");
  check(frequency_penalty >= -2.0f && frequency_penalty <= 2.0f, "frequency_penalty",
        frequency_penalty, "is not from -2 to 2", "use 0 for off");
}

Sampler::Sampler(const SamplingParams& params) : params_(params), random_(params.seed) {
  params_.validate();
}

void Sampler::observe_prompt(std::span<const TokenId> tokens) {
  for (const TokenId token : tokens) count(prompt_counts_, token);
}

TokenId Sampler::sample(std::span<const float> logits) {
  const bool greedy = params_.temperature == 0.0f;
  TokenId token = 0;
  if (params_.plain_greedy()) {
    token = most_likely(logits);
  } else {
    scratch_.resize(logits.size());
    std::transform(logits.begin(), logits.end(), scratch_.begin(),
                   [](float logit) { return std::isnan(logit) ? kNever : logit; });
    if (params_.penalised()) apply_penalties();
    token = greedy ? most_likely(scratch_) : draw();
  }
  count(generated_counts_, token);
  return token;
}

// Repetition: CTRL (arXiv 1909.05858), section 4.1, as Hugging Face has it. Frequency and presence:
// OpenAI's API reference.
void Sampler::apply_penalties() {
  const size_t seen = std::max(prompt_counts_.size(), generated_counts_.size());
  for (size_t i = 0; i < std::min(seen, scratch_.size()); ++i) {
    const int32_t prompted = i < prompt_counts_.size() ? prompt_counts_[i] : 0;
    const int32_t generated = i < generated_counts_.size() ? generated_counts_[i] : 0;
    if (prompted == 0 && generated == 0) continue;
    float& logit = scratch_[i];
    logit = logit < 0.0f ? logit * params_.repetition_penalty : logit / params_.repetition_penalty;
    if (generated == 0) continue;
    logit -= params_.frequency_penalty * static_cast<float>(generated);
    logit -= params_.presence_penalty;
  }
}

TokenId Sampler::draw() {
  float largest = scratch_[static_cast<size_t>(most_likely(scratch_))];
  if (std::isinf(largest)) {  // certain: whatever is not infinite cannot be drawn
    for (float& logit : scratch_) logit = logit == largest ? 0.0f : kNever;
    largest = 0.0f;
  }
  const double temperature = params_.temperature;
  const size_t vocabulary = scratch_.size();
  order_.resize(vocabulary);
  for (size_t i = 0; i < vocabulary; ++i) order_[i] = key_of(scratch_[i], i);
  weights_.resize(vocabulary);
  if (params_.top_k > 0 && static_cast<size_t>(params_.top_k) < vocabulary) {
    keep_top_k();
    for (const uint64_t key : order_) {
      const size_t i = token_of(key);
      weights_[i] = weight(scratch_[i], largest, temperature);
    }
  } else {
    for (size_t i = 0; i < vocabulary; ++i) {
      weights_[i] = weight(scratch_[i], largest, temperature);
    }
  }
  if (params_.top_p < 1.0f) keep_top_p();
  if (params_.min_p > 0.0f) {
    std::erase_if(order_, [this](uint64_t key) { return weight_of(key) < params_.min_p; });
  }

  const double total = total_weight();
  // 53 bits make a double in [0, 1); std::uniform_real_distribution differs between libraries.
  const double target = static_cast<double>(random_() >> 11) * 0x1p-53 * total;
  double mass = 0;
  size_t last = 0;
  for (const uint64_t key : order_) {
    if (weight_of(key) == 0.0) continue;
    mass += weight_of(key);
    last = token_of(key);
    if (mass > target) break;
  }
  return static_cast<TokenId>(last);  // the last of all where rounding made target equal total
}

double Sampler::weight_of(uint64_t key) const { return weights_[token_of(key)]; }

double Sampler::total_weight() const {
  double total = 0;
  for (const uint64_t key : order_) total += weight_of(key);
  return total;
}

// The k most likely and all that tie with the k-th, most likely first.
void Sampler::keep_top_k() {
  const auto kth = order_.begin() + params_.top_k;
  sort_front(order_.begin(), kth, order_.end());
  const float least = scratch_[token_of(*(kth - 1))];
  const auto ties_end = std::partition(
      kth, order_.end(), [&](uint64_t key) { return scratch_[token_of(key)] == least; });
  std::sort(kth, ties_end);
  order_.erase(ties_end, order_.end());
}

void Sampler::keep_top_p() {
  const double p = params_.top_p;
  const double total = total_weight();
  // Tokens below (1 - p) / n of the mass have less than 1 - p together, so the others reach p: no
  // need to sort a whole vocabulary. Half of it leaves room for rounding.
  const double negligible = 0.5 * (1.0 - p) * total / static_cast<double>(order_.size());
  std::erase_if(order_, [&](uint64_t key) { return weight_of(key) < negligible; });

  double mass = 0;
  size_t kept = 0;
  size_t sorted = 0;
  while (kept < order_.size() && mass < p * total) {
    if (kept == sorted) {  // sort a little more: the nucleus is mostly short
      sorted = std::min(order_.size(), std::max<size_t>(64, 4 * sorted));
      sort_front(order_.begin() + static_cast<std::ptrdiff_t>(kept),
                 order_.begin() + static_cast<std::ptrdiff_t>(sorted), order_.end());
    }
    mass += weight_of(order_[kept]);
    ++kept;
  }
  order_.resize(kept);
}

float Sampler::log_probability(std::span<const float> logits, TokenId token) {
  require(token >= 0 && static_cast<size_t>(token) < logits.size(), "token id out of range");
  const float largest = logits[static_cast<size_t>(most_likely(logits))];
  const float logit = logits[static_cast<size_t>(token)];
  if (std::isnan(logit) || logit == kNever) return kNever;
  if (std::isinf(largest)) {  // shared by all that are infinite
    const auto sharing = std::count(logits.begin(), logits.end(), largest);
    return logit == largest ? -std::log(static_cast<float>(sharing)) : kNever;
  }
  double total = 0;
  for (const float other : logits) {
    if (!std::isnan(other)) total += weight(other, largest, 1.0);
  }
  return static_cast<float>(static_cast<double>(logit) - static_cast<double>(largest) -
                            std::log(total));
}

}  // namespace dak
