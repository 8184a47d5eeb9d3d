// Compiled with AVX-512 F, BW, DQ, VL. Only kernels.cc, which asks the machine first, may lead
// here.
#include <immintrin.h>

#include <cstdint>

#include "ops/cpu/kernels.h"

namespace dak::cpu {
namespace {

#include "ops/cpu/kernels_body.h"
// After the element types it loads.
#include "ops/cpu/avx2_lanes.h"

// 16 floats: consecutive columns, or two rows of 8.
struct Avx512Wide {
  static constexpr int64_t kWidth = 16;
  static constexpr int kTileQueries = 4;
  static constexpr int kRows = 2;
  static constexpr int kTileRegs = 4;
  static constexpr int kTileTokens = 6;  // 24 sums, 4 weights, 1 value of the 32 registers

  using Reg = __m512;

  static Reg load(const float* p) { return _mm512_loadu_ps(p); }
  static Reg load_weight(const float* p) { return _mm512_loadu_ps(p); }
  static Reg load_weight(const F16* p) {
    return widen_f16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Reg load_weight(const BF16* p) {
    return widen_bf16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  // kRows rows of 8 columns, `row_stride` apart; adjacent in a core matrix.
  template <class W, bool kCore>
  static Reg load_weight(const W* p, int64_t row_stride) {
    if constexpr (kCore) {
      return load_weight(p);
    } else {
      return load_two_rows(p, p + row_stride);
    }
  }
  static Reg load_two_rows(const float* a, const float* b) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(a)), _mm256_loadu_ps(b), 1);
  }
  static Reg load_two_rows(const F16* a, const F16* b) { return widen_f16(join(a, b)); }
  static Reg load_two_rows(const BF16* a, const BF16* b) { return widen_bf16(join(a, b)); }
  static __m256i join(const void* a, const void* b) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(Avx2Lanes::load_16_bits(a)),
                                   Avx2Lanes::load_16_bits(b), 1);
  }
  static Reg widen_f16(__m256i bits) { return _mm512_cvtph_ps(bits); }
  static Reg widen_bf16(__m256i bits) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  static Reg broadcast(const float* p) { return _mm512_broadcast_f32x8(_mm256_loadu_ps(p)); }
  static void store(float* p, Reg a) { _mm512_storeu_ps(p, a); }
  static Reg set1(float value) { return _mm512_set1_ps(value); }
  static Reg fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }
};

}  // namespace

constinit const Kernels kAvx512Kernels = make_kernels<Avx512Wide, Avx512Wide, Avx2Lanes>("avx512");

}  // namespace dak::cpu
