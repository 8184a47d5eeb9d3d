#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

#include "base/error.h"

namespace dak {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

void check(bool valid, std::string_view field, double value, std::string_view problem,
           std::string_view fix) {
  if (!valid) throw_invalid("sampling", field, fmt::format("{}", value), problem, fix);
}

}  // namespace

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
  for (const TokenBias& one : logit_bias) {
    check(std::isfinite(one.bias), "logit_bias", one.bias, "is not a finite number",
          "use -100 to 100");
  }
}

Sampler::Sampler(const SamplingParams& params) : params_(params) { params_.validate(); }

void Sampler::observe_prompt(std::span<const TokenId> tokens) {
  if (params_.penalised()) {
    for (const TokenId token : tokens) {
      require(token >= 0, "token id out of range");
      ++counts_[token].prompted;
    }
  }
  length_ += tokens.size();
}

TokenId Sampler::sample(std::span<const float> logits) {
  const std::span<const float> values = params_.changes_logits() ? changed(logits) : logits;
  const TokenId token = drawer_.draw(values, params_.draw(), length_);
  accept(token);
  return token;
}

void Sampler::accept(TokenId token) {
  require(token >= 0, "token id out of range");
  if (params_.penalised()) ++counts_[token].generated;
  ++length_;
}

// Repetition: CTRL (arXiv 1909.05858), section 4.1, as Hugging Face has it. Frequency and presence:
// OpenAI's API reference.
std::span<const float> Sampler::changed(std::span<const float> logits) {
  changed_.assign(logits.begin(), logits.end());
  for (const TokenBias& one : params_.logit_bias) {
    const auto token = static_cast<size_t>(one.token);
    if (one.token >= 0 && token < changed_.size()) changed_[token] += one.bias;
  }
  for (const auto& [token, count] : counts_) {
    if (static_cast<size_t>(token) >= changed_.size()) continue;
    float& logit = changed_[static_cast<size_t>(token)];
    logit = logit < 0.0f ? logit * params_.repetition_penalty : logit / params_.repetition_penalty;
    if (count.generated == 0) continue;
    logit -= params_.frequency_penalty * static_cast<float>(count.generated);
    logit -= params_.presence_penalty;
  }
  return changed_;
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
    if (std::isnan(other)) continue;
    total += std::exp(static_cast<double>(other) - static_cast<double>(largest));
  }
  return static_cast<float>(static_cast<double>(logit) - static_cast<double>(largest) -
                            std::log(total));
}

}  // namespace dak
