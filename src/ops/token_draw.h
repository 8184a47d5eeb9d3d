// The rule by which a token is drawn from logits. The CPU (engine/sampler.cc) and the GPU
// (ops/cuda/sampling.cu) compile the same arithmetic, so that both draw the same token from the
// same logits, whatever the batch, the timing and the number of threads.
//
// clang-format off
//   gap     largest logit - logit, f32; 0 for what equals the largest; NaN is never drawn
//   weight  floor(2^40 e^(-gap / temperature)) with e^x as below; 0 from gap / temperature = 27.7 on
//   top-k   keeps the k smallest gaps, and what ties with the k-th
//   top-p   keeps, of these, the smallest gaps whose weights add up to top_p of all of theirs, and
//           what ties with the last of them
//   min-p   keeps, of these, the weights from min_p 2^40 on
//   draw    the token in whose share of the sum of weights, laid out by token id, a random number
//           falls; that number is a hash of the seed and of the token's index in its sequence
// clang-format on
//
// Weights are integers, so a sum has one value in whatever order it is made; 2^23 of them fit. The
// few operations on f32 are those of IEEE, each rounded: compile without contraction into FMA
// (-ffp-contract=off, nvcc -fmad=false).
#pragma once

#include <bit>
#include <cstdint>

#include "memory/random_bits.h"

namespace dak {

// Of one row; see SamplingParams for the ranges.
struct DrawParams {
  float temperature = 0.0f;  // 0: the most likely token, the lowest id among equals
  int32_t top_k = 0;         // 0: off
  float top_p = 1.0f;        // 1: off
  float min_p = 0.0f;
  uint64_t seed = 0;
};

constexpr float draw_gap(float largest, float logit) {
  return logit == largest ? 0.0f : largest - logit;  // infinities: no NaN
}

constexpr float scaled_gap(float gap, float inverse_temperature) {
  return gap == 0.0f ? 0.0f : gap * inverse_temperature;  // 0 times infinity is none
}

inline constexpr float kDrawReach = 27.7f;  // 2^40 e^-27.7 is 1.03, the least weight

// Of what scaled_gap says; false for NaN.
constexpr bool can_be_drawn(float scaled) { return scaled < kDrawReach; }

// Of a scaled gap that can be drawn. Relative error 2^-22, beside the rounding down: scaled =
// n ln 2 - r by Cody and Waite, then the Taylor series of e^r to degree 7 on [-0.35, 0.35].
constexpr uint64_t draw_weight(float scaled) {
  constexpr float kTwoLog2E = 0x1.715476p+1f;
  constexpr float kLn2High = 0x1.63p-1f;  // 9 bits: its product with n is exact
  constexpr float kLn2Low = -0x1.bd0106p-13f;
  const int32_t n = (static_cast<int32_t>(scaled * kTwoLog2E) + 1) / 2;  // the nearest
  const auto steps = static_cast<float>(n);
  const float r = (steps * kLn2High - scaled) + steps * kLn2Low;
  float series = 1.0f / 5040;
  series = series * r + 1.0f / 720;
  series = series * r + 1.0f / 120;
  series = series * r + 1.0f / 24;
  series = series * r + 1.0f / 6;
  series = series * r + 0.5f;
  series = series * r + 1.0f;
  series = series * r + 1.0f;
  const int32_t bits = std::bit_cast<int32_t>(series) + ((40 - n) << 23);
  return static_cast<uint64_t>(std::bit_cast<float>(bits));
}

constexpr uint64_t rounded_up(double x) {
  const auto floor = static_cast<uint64_t>(x);
  return floor + (static_cast<double>(floor) < x ? 1 : 0);
}

// The least weight that min_p keeps; the largest weight is 2^40.
constexpr uint64_t least_draw_weight(float min_p) {
  return rounded_up(static_cast<double>(min_p) * 0x1p40);
}

// The weight that top_p < 1 asks for: at least 1, at most `total`.
constexpr uint64_t nucleus_weight(uint64_t total, float top_p) {
  return rounded_up(static_cast<double>(top_p) * static_cast<double>(total));
}

// The upper half of a product.
constexpr uint64_t high_product(uint64_t a, uint64_t b) {
  const uint64_t a_low = a & 0xffffffffu;
  const uint64_t b_low = b & 0xffffffffu;
  const uint64_t middle = (a >> 32) * b_low + (a_low * b_low >> 32);
  const uint64_t other = a_low * (b >> 32) + (middle & 0xffffffffu);
  return (a >> 32) * (b >> 32) + (middle >> 32) + (other >> 32);
}

// Uniform in [0, total): Splitmix64's number `index` from a state that the seed makes. `index`:
// tokens of the sequence before the one that is drawn, its prompt's included.
constexpr uint64_t draw_target(uint64_t total, uint64_t seed, uint64_t index) {
  return high_product(splitmix64(splitmix64(seed) + index * kSplitmixStep), total);
}

}  // namespace dak
