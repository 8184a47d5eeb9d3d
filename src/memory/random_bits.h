// The integer half of random_values.h, which the CPU and the GPU compile alike. A value is
// `centre + random_step(...) * random_scale(half_width)`: one multiplication and one addition, each
// rounded, never fused.
#pragma once

#include <cstdint>

namespace dak {

struct RandomKeys {
  uint32_t first;
  uint32_t second;
};

// What Splitmix64 (Steele et al. 2014) makes of a state: neighbouring states share nothing.
inline constexpr uint64_t kSplitmixStep = 0x9e3779b97f4a7c15u;
constexpr uint64_t splitmix64(uint64_t state) {
  uint64_t z = state + kSplitmixStep;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

constexpr RandomKeys random_keys(uint64_t seed) {
  const uint64_t z = splitmix64(seed);
  return {static_cast<uint32_t>(z), static_cast<uint32_t>(z >> 32)};
}

// Odd and in (-2^23, 2^23): exact in f32, symmetric, never 0. Two rounds, because after one the
// values of two seeds would be the same ones in another order.
constexpr int32_t random_step(RandomKeys keys, uint64_t index) {
  uint32_t h = static_cast<uint32_t>(index) ^ keys.first;
  h = (h ^ h >> 16) * 0x85ebca6bu;  // murmur3's finaliser
  h = (h ^ h >> 13) * 0xc2b2ae35u;
  h = (h ^ h >> 16) + keys.second + static_cast<uint32_t>(index >> 32) * 0x9e3779b9u;
  h = (h ^ h >> 16) * 0x7feb352du;  // lowbias32
  h = (h ^ h >> 15) * 0x846ca68bu;
  h ^= h >> 16;
  return static_cast<int32_t>(h >> 9) * 2 + 1 - (1 << 23);
}

constexpr float random_scale(float half_width) { return half_width * 0x1p-23f; }

}  // namespace dak
