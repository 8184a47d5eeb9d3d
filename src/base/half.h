// Scalar conversions between f32 and the two 16-bit floating-point types, round to nearest even.
#pragma once

#include <bit>
#include <cstdint>

#include "base/dtype.h"

namespace dak {

inline float bf16_to_f32(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

inline uint16_t f32_to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

inline float f16_to_f32(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1fu;
  const uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0x1fu) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24, exact in f32
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
}

inline uint16_t f32_to_f16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return sign | 0x7e00u;                // NaN
  if (magnitude >= 0x477ff000u) return sign | 0x7c00u;               // rounds past 65504: infinity
  if (magnitude < 0x38800000u) {                                     // subnormal in f16
    const float scaled = std::bit_cast<float>(magnitude) * 0x1p24f;  // exact
    const auto truncated = static_cast<uint32_t>(scaled);
    const float rest = scaled - static_cast<float>(truncated);
    const bool up = rest > 0.5f || (rest == 0.5f && (truncated & 1u));
    return static_cast<uint16_t>(sign | (truncated + (up ? 1u : 0u)));
  }
  const uint32_t rebased = magnitude - (112u << 23);
  return static_cast<uint16_t>(sign | ((rebased + 0xfffu + ((rebased >> 13) & 1u)) >> 13));
}

// The same for a type that is known when it runs: f16 or bf16. Throw kUnsupported for others.
inline float half_to_f32(DType dtype, uint16_t bits) {
  if (dtype == DType::kBF16) return bf16_to_f32(bits);
  if (dtype != DType::kF16) [[unlikely]] {
    refuse_dtype("half_to_f32", dtype, "f16 and bf16");
  }
  return f16_to_f32(bits);
}
inline uint16_t f32_to_half(DType dtype, float value) {
  if (dtype == DType::kBF16) return f32_to_bf16(value);
  if (dtype != DType::kF16) [[unlikely]] {
    refuse_dtype("f32_to_half", dtype, "f16 and bf16");
  }
  return f32_to_f16(value);
}

}  // namespace dak
