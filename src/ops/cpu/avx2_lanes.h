// A register of 8 floats with AVX2, FMA and F16C. Included inside an anonymous namespace, after
// kernels_body.h, by the files compiled for x86 extensions.

struct Avx2Lanes {
  static constexpr int64_t kWidth = 8;
  static constexpr int kTileQueries = 2;
  static constexpr int kRows = 1;
  static constexpr int kTileRegs = 4;
  static constexpr int kTileTokens = 3;  // 12 sums, 3 values, 1 weight: the 16 registers

  using Reg = __m256;

  static Reg load(const float* p) { return _mm256_loadu_ps(p); }
  static Reg load_weight(const float* p) { return _mm256_loadu_ps(p); }
  static Reg load_weight(const F16* p) { return _mm256_cvtph_ps(load_16_bits(p)); }
  static Reg load_weight(const BF16* p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_16_bits(p)), 16));
  }
  template <class W, bool kCore>
  static Reg load_weight(const W* p, int64_t) {
    return load_weight(p);
  }
  static __m128i load_16_bits(const void* p) {
    return _mm_loadu_si128(static_cast<const __m128i*>(p));
  }
  static Reg broadcast(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Reg a) { _mm256_storeu_ps(p, a); }
  static Reg set1(float value) { return _mm256_set1_ps(value); }
  static Reg add(Reg a, Reg b) { return _mm256_add_ps(a, b); }
  static Reg sub(Reg a, Reg b) { return _mm256_sub_ps(a, b); }
  static Reg mul(Reg a, Reg b) { return _mm256_mul_ps(a, b); }
  static Reg div(Reg a, Reg b) { return _mm256_div_ps(a, b); }
  static Reg fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_ps(a, b, c); }
  static Reg min(Reg a, Reg b) { return _mm256_min_ps(a, b); }
  static Reg max(Reg a, Reg b) { return _mm256_max_ps(a, b); }
  static Reg scale_by_power(Reg p, Reg biased) {
    const __m256i n = _mm256_sub_epi32(_mm256_castps_si256(biased),
                                       _mm256_castps_si256(_mm256_set1_ps(12582912.0f)));
    const __m256i half = _mm256_srai_epi32(n, 1);
    return mul(mul(p, power_of_two(half)), power_of_two(_mm256_sub_epi32(n, half)));
  }
  static Reg power_of_two(__m256i n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
  }

  static void reduce(const float* acc, int64_t count, float* out) {
    for (int64_t i = 0; i < count; i += 4) {
      const float* s = acc + i * kLanes;
      const __m128 first = _mm_hadd_ps(fold(s), fold(s + kLanes));
      const __m128 second = _mm_hadd_ps(fold(s + 2 * kLanes), fold(s + 3 * kLanes));
      _mm_storeu_ps(out + i, _mm_hadd_ps(first, second));
    }
  }
  static __m128 fold(const float* s) { return _mm_add_ps(_mm_loadu_ps(s), _mm_loadu_ps(s + 4)); }
};
