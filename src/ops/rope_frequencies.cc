// Inverse frequencies of the rotary embedding under each scaling. Rounded to f32 where
// transformers' modeling_rope_utils does: at position 100,000 the last bit of a frequency is worth
// 0.006 rad.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "ops/rope.h"

namespace dak {
namespace {

// theta^(2i / dims), [dims / 2].
std::vector<float> base_wavelengths(const RopeConfig& config) {
  std::vector<float> result;
  for (int64_t i = 0; i < config.rotary_dims; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(config.rotary_dims);
    result.push_back(static_cast<float>(std::pow(config.theta, static_cast<double>(exponent))));
  }
  return result;
}

// Llama 3.1: long wavelengths divided by `factor`, short ones kept, a blend between.
float llama3_frequency(const RopeConfig& config, float frequency) {
  const double wavelength = 2.0 * std::numbers::pi / frequency;
  if (wavelength < config.original_context / config.high_freq_factor) return frequency;
  const auto factor = static_cast<float>(config.factor);
  if (wavelength > config.original_context / config.low_freq_factor) return frequency / factor;
  const auto smooth =
      static_cast<float>((config.original_context / wavelength - config.low_freq_factor) /
                         (config.high_freq_factor - config.low_freq_factor));
  return (1.0f - smooth) * frequency / factor + smooth * frequency;
}

// YaRN (Peng et al. 2023): the dimension that makes `rotations` turns over the original context.
double yarn_dimension(const RopeConfig& config, double rotations) {
  return static_cast<double>(config.rotary_dims) *
         std::log(config.original_context / (rotations * 2.0 * std::numbers::pi)) /
         (2.0 * std::log(config.theta));
}

void apply_yarn(const RopeConfig& config, RopeFrequencies& result) {
  double low = yarn_dimension(config, config.beta_fast);
  double high = yarn_dimension(config, config.beta_slow);
  if (config.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(config.rotary_dims - 1));
  if (low == high) high += 0.001;  // as transformers does, to avoid 0 / 0
  const auto factor = static_cast<float>(config.factor);
  for (size_t i = 0; i < result.inverse.size(); ++i) {
    const auto ramp =
        static_cast<float>(std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0));
    const float kept = 1.0f - ramp;
    const float frequency = result.inverse[i];
    result.inverse[i] = frequency / factor * (1.0f - kept) + frequency * kept;
  }
}

}  // namespace

double yarn_magnitude(double factor, double mscale) {
  return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

RopeFrequencies rope_frequencies(const RopeConfig& config) {
  require(config.rotary_dims >= 0 && config.rotary_dims % 2 == 0,
          "rope: rotary dimensions must be even");
  require(config.theta > 0 && config.factor > 0, "rope: theta and factor must be positive");
  RopeFrequencies result;
  for (const float wavelength : base_wavelengths(config)) {
    result.inverse.push_back(1.0f / wavelength);
  }
  if (!config.frequency_divisors.empty()) {
    require(config.frequency_divisors.size() == result.inverse.size(),
            "rope: one frequency divisor per pair of rotary dimensions");
    for (size_t i = 0; i < result.inverse.size(); ++i) {
      result.inverse[i] /= config.frequency_divisors[i];
    }
  }
  switch (config.scaling) {
    case RopeScaling::kNone:
      break;
    case RopeScaling::kLinear:
      for (float& f : result.inverse) f /= static_cast<float>(config.factor);
      break;
    case RopeScaling::kLlama3:
      for (float& f : result.inverse) f = llama3_frequency(config, f);
      break;
    case RopeScaling::kYarn:
      apply_yarn(config, result);
      break;
  }
  const bool yarn = config.scaling == RopeScaling::kYarn;
  const double automatic = yarn ? yarn_magnitude(config.factor) : 1.0;
  result.magnitude =
      static_cast<float>(config.attention_factor > 0 ? config.attention_factor : automatic);
  return result;
}

}  // namespace dak
