// Rotary position embedding (Su et al. 2021), rotate-half convention of Hugging Face Llama: the
// pair of dimension i is i + rotary_dims / 2.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/tensor.h"
#include "ops/context.h"

namespace dak {

enum class RopeScaling : uint8_t { kNone, kLinear, kLlama3, kYarn };

struct RopeConfig {
  double theta = 10000.0;
  int64_t rotary_dims = 0;  // even, <= head size
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1.0;               // kLinear, kLlama3, kYarn
  double low_freq_factor = 1.0;      // kLlama3
  double high_freq_factor = 4.0;     // kLlama3
  double original_context = 8192.0;  // kLlama3, kYarn
  double beta_fast = 32.0;           // kYarn
  double beta_slow = 1.0;            // kYarn
  bool truncate = true;              // kYarn: the ramp begins and ends at whole dimensions
  double attention_factor = 0.0;     // on cos and sin; 0: 1, and kYarn's yarn_magnitude(factor)
  // GGUF's rope_freqs.weight, [rotary_dims / 2]: divides the frequencies before any scaling.
  std::vector<float> frequency_divisors = {};
};

// YaRN's factor on cos and sin (Peng et al. 2023, section 3.4): 0.1 mscale ln(factor) + 1, and 1
// for factors up to 1.
double yarn_magnitude(double factor, double mscale = 1.0);

// Inverse frequencies [rotary_dims / 2] after scaling, and the factor on cos and sin. Formulas as
// in transformers' modeling_rope_utils.
struct RopeFrequencies {
  std::vector<float> inverse;
  float magnitude = 1.0f;
};
RopeFrequencies rope_frequencies(const RopeConfig& config);

// Rotates x [m, heads, head_size] f32 in place; row i is at position positions[i].
void rope(OpContext& ctx, std::span<const int32_t> positions, const RopeFrequencies& frequencies,
          const Tensor& x);

}  // namespace dak
