// What the tests of matrix kernels share: values, truth, memory of a tier, one line a case.
#pragma once

#include <cuda_runtime_api.h>
#include <fmt/core.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "base/activation.h"
#include "base/dtype.h"
#include "base/error.h"
#include "base/half.h"
#include "kernels/cuda_check.h"
#include "memory/tier.h"

namespace dak {

inline constexpr int64_t kGuardBytes = 256;
inline constexpr int kGuardValue = 0xa5;

// ||out - ref|| / ||ref||; NaN and infinity never pass for small.
inline double relative_error(std::span<const float> out, std::span<const double> reference) {
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    const double d = static_cast<double>(out[i]) - reference[i];
    difference += d * d;
    norm += reference[i] * reference[i];
  }
  return std::sqrt(difference / norm);
}

inline bool within(double error, double limit) { return error <= limit; }  // false for NaN

inline float rounded(float value, DType dtype) {
  if (dtype == DType::kBF16) return bf16_to_f32(f32_to_bf16(value));
  if (dtype == DType::kF16) return f16_to_f32(f32_to_f16(value));
  return value;
}

inline std::vector<float> random_values(int64_t count, DType dtype, std::mt19937& rng) {
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values) v = rounded(normal(rng), dtype);
  return values;
}

inline std::vector<uint16_t> to_half(std::span<const float> values, DType dtype) {
  std::vector<uint16_t> bits;
  bits.reserve(values.size());
  for (const float v : values) {
    bits.push_back(dtype == DType::kBF16 ? f32_to_bf16(v) : f32_to_f16(v));
  }
  return bits;
}

inline double activated(Activation activation, double x) {
  switch (activation) {
    case Activation::kNone:
      return x;
    case Activation::kRelu:
      return x > 0 ? x : 0;
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    case Activation::kGelu:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  }
  return x;
}

// Pinned host memory as a tier.
struct HostBuffer {
  explicit HostBuffer(int64_t bytes) {
    cuda_check(cudaHostAlloc(reinterpret_cast<void**>(&data), static_cast<size_t>(bytes),
                             cudaHostAllocPortable));
  }
  ~HostBuffer() { cudaFreeHost(data); }
  HostBuffer(const HostBuffer&) = delete;
  HostBuffer& operator=(const HostBuffer&) = delete;
  std::byte* data = nullptr;
};

// Placements: none, one block, half, all but one, all remote; and three tiers in turn.
inline std::vector<std::vector<TierIndex>> placements(int64_t blocks) {
  const auto count = static_cast<size_t>(blocks);
  std::vector<std::vector<TierIndex>> all;
  for (const size_t remote : {size_t{0}, size_t{1}, count / 2, count - 1, count}) {
    std::vector<TierIndex> tiers(count, 0);
    for (size_t i = 0; i < remote; ++i) tiers[i * count / remote] = 1;
    all.push_back(tiers);
  }
  std::vector<TierIndex> three(count);
  for (size_t i = 0; i < count; ++i) three[i] = static_cast<TierIndex>(i * 7 / 3 % 3);
  all.push_back(three);
  return all;
}

inline int failures = 0;

inline void report(bool ok, const std::string& line) {
  fmt::print("{} {}\n", ok ? "ok  " : "FAIL", line);
  if (!ok) ++failures;
}

template <typename F>
bool throws(F&& call) {
  try {
    call();
  } catch (const Error&) {
    return true;
  }
  return false;
}

}  // namespace dak
