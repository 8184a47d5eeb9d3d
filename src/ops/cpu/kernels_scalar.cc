// Portable variant: the same sums in plain C++. std::fma is exact, in hardware or in libm.
#include <bit>
#include <cmath>
#include <cstdint>

#include "base/half.h"
#include "ops/cpu/kernels.h"

namespace dak::cpu {
namespace {

#include "ops/cpu/kernels_body.h"

struct ScalarLanes {
  static constexpr int64_t kWidth = 8;
  static constexpr int kTileQueries = 1;
  static constexpr int kRows = 1;
  static constexpr int kTileRegs = 4;
  static constexpr int kTileTokens = 2;

  struct Reg {
    float lane[8];
  };

  template <class F>
  static Reg each(F f) {
    Reg result;
    for (int i = 0; i < 8; ++i) result.lane[i] = f(i);
    return result;
  }

  static Reg load(const float* p) {
    return each([&](int i) { return p[i]; });
  }
  static Reg load_weight(const float* p) { return load(p); }
  static Reg load_weight(const F16* p) {
    return each([&](int i) { return f16_to_f32(p[i].bits); });
  }
  static Reg load_weight(const BF16* p) {
    return each([&](int i) { return bf16_to_f32(p[i].bits); });
  }
  template <class W, bool kCore>
  static Reg load_weight(const W* p, int64_t) {
    return load_weight(p);
  }
  static Reg broadcast(const float* p) { return load(p); }
  static void store(float* p, const Reg& a) {
    for (int i = 0; i < 8; ++i) p[i] = a.lane[i];
  }
  static Reg set1(float value) {
    return each([&](int) { return value; });
  }
  static Reg add(const Reg& a, const Reg& b) {
    return each([&](int i) { return a.lane[i] + b.lane[i]; });
  }
  static Reg sub(const Reg& a, const Reg& b) {
    return each([&](int i) { return a.lane[i] - b.lane[i]; });
  }
  static Reg mul(const Reg& a, const Reg& b) {
    return each([&](int i) { return a.lane[i] * b.lane[i]; });
  }
  static Reg div(const Reg& a, const Reg& b) {
    return each([&](int i) { return a.lane[i] / b.lane[i]; });
  }
  static Reg fma(const Reg& a, const Reg& b, const Reg& c) {
    return each([&](int i) { return std::fma(a.lane[i], b.lane[i], c.lane[i]); });
  }
  static Reg min(const Reg& a, const Reg& b) {
    return each([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
  }
  static Reg max(const Reg& a, const Reg& b) {
    return each([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
  }
  static Reg scale_by_power(const Reg& p, const Reg& biased) {
    return each([&](int i) {
      const int32_t n = std::bit_cast<int32_t>(biased.lane[i]) - std::bit_cast<int32_t>(12582912.f);
      const int32_t half = n >> 1;
      return p.lane[i] * power_of_two(half) * power_of_two(n - half);
    });
  }
  static float power_of_two(int32_t n) {
    return std::bit_cast<float>((static_cast<uint32_t>(n) + 127u) << 23);
  }

  static void reduce(const float* acc, int64_t count, float* out) {
    for (int64_t i = 0; i < count; ++i) {
      const float* s = acc + i * kLanes;
      out[i] = ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
    }
  }
};

}  // namespace

constinit const Kernels kScalarKernels =
    make_kernels<ScalarLanes, ScalarLanes, ScalarLanes>("scalar");

}  // namespace dak::cpu
