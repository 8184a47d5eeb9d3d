// The loops behind cpu::Kernels, written once over a description of the registers. Included by one
// .cc file per instruction set, inside an anonymous namespace: nothing here may be shared between
// them, or the linker could hand AVX-512 code to a machine without it.
//
// `Lanes` is a register of 8 floats: load, store, set1, add, sub, mul, div, fma, min, max,
//   scale_by_power (p * 2^n, n in the low bits of a float near 1.5 * 2^23).
// `Wide` is a register of kRows x 8 floats that loads kRows rows of a weight at once.
//   load_weight<W, kCore>(pointer, row stride) and broadcast(8 floats to each row).

struct F16 {
  uint16_t bits;
};
struct BF16 {
  uint16_t bits;
};

// ---- Products with rows -------------------------------------------------------------------------

// kM rows of x against 8 rows of w, over all columns.
template <class Wide, class W, bool kCore, int kM>
void accumulate_tile(const RowsView& view, const W* w, const float* x, int64_t x_stride, float* acc,
                     int64_t acc_stride) {
  constexpr int kRegs = kM == 1 ? 8 / Wide::kRows : Wide::kTileRegs;
  for (int64_t row = 0; row < 8; row += kRegs * Wide::kRows) {
    typename Wide::Reg sum[kM][kRegs];
    for (int i = 0; i < kM; ++i) {
      for (int r = 0; r < kRegs; ++r) {
        sum[i][r] = Wide::load(acc + i * acc_stride + (row + r * Wide::kRows) * kLanes);
      }
    }
    const int64_t row_stride = kCore ? kLanes : view.row_stride;
    const float* x_group = x;
    for (int64_t chunk = 0; chunk < view.chunks; ++chunk) {
      const W* w_group = w + chunk * view.chunk_stride + row * row_stride;
      for (int64_t group = 0; group < view.col_groups; ++group) {
        typename Wide::Reg weight[kRegs];
        for (int r = 0; r < kRegs; ++r) {
          weight[r] = Wide::template load_weight<W, kCore>(w_group + r * Wide::kRows * row_stride,
                                                           row_stride);
        }
        for (int i = 0; i < kM; ++i) {
          const typename Wide::Reg value = Wide::broadcast(x_group + i * x_stride);
          for (int r = 0; r < kRegs; ++r) sum[i][r] = Wide::fma(weight[r], value, sum[i][r]);
        }
        w_group += view.col_group_stride;
        x_group += kLanes;
      }
    }
    for (int i = 0; i < kM; ++i) {
      for (int r = 0; r < kRegs; ++r) {
        Wide::store(acc + i * acc_stride + (row + r * Wide::kRows) * kLanes, sum[i][r]);
      }
    }
  }
}

template <class Wide, class W, bool kCore, int kM = Wide::kTileTokens>
void accumulate_tokens(const RowsView& view, const float* x, int64_t x_stride, int64_t m,
                       float* acc) {
  if constexpr (kM > 1) {
    if (m < kM) return accumulate_tokens<Wide, W, kCore, kM - 1>(view, x, x_stride, m, acc);
  }
  const int64_t acc_stride = view.row_groups * 8 * kLanes;
  for (int64_t group = 0; group < view.row_groups; ++group) {
    accumulate_tile<Wide, W, kCore, kM>(
        view, reinterpret_cast<const W*>(view.data) + group * view.row_group_stride, x, x_stride,
        acc + group * 8 * kLanes, acc_stride);
  }
}

template <class Wide, class W>
void accumulate_typed(const RowsView& view, const float* x, int64_t x_stride, int64_t m,
                      float* acc) {
  const int64_t acc_stride = view.row_groups * 8 * kLanes;
  // Tiles as even as they can be: 7 rows are 4 + 3, not 6 + 1.
  for (int64_t tiles = (m + Wide::kTileTokens - 1) / Wide::kTileTokens; tiles > 0; --tiles) {
    const int64_t step = (m + tiles - 1) / tiles;
    if (view.row_stride == kLanes) {
      accumulate_tokens<Wide, W, true>(view, x, x_stride, step, acc);
    } else {
      accumulate_tokens<Wide, W, false>(view, x, x_stride, step, acc);
    }
    x += step * x_stride;
    acc += step * acc_stride;
    m -= step;
  }
}

template <class Wide>
void accumulate(const RowsView& view, const float* x, int64_t x_stride, int64_t m, float* acc) {
  switch (view.dtype) {
    case DType::kF32:
      return accumulate_typed<Wide, float>(view, x, x_stride, m, acc);
    case DType::kF16:
      return accumulate_typed<Wide, F16>(view, x, x_stride, m, acc);
    case DType::kBF16:
      return accumulate_typed<Wide, BF16>(view, x, x_stride, m, acc);
    default:
      refuse_dtype("a product on the CPU", view.dtype);
  }
}

// ---- Softmax and activations --------------------------------------------------------------------

// exp(x) = 2^n exp(r), |r| <= ln 2 / 2, Taylor to r^7 (the rest is below 6e-9). Error < 1.5 ulp.
// NaN stays NaN: min and max return their second operand when either is NaN.
template <class Lanes>
typename Lanes::Reg exponential(typename Lanes::Reg x) {
  using L = Lanes;
  // 2^-159 underflows to zero and 2^129 overflows to infinity, as they should.
  x = L::max(L::set1(-110.0f), L::min(L::set1(89.0f), x));
  const typename L::Reg magic = L::set1(12582912.0f);  // 1.5 * 2^23: rounds to an integer
  const typename L::Reg biased = L::fma(x, L::set1(1.44269504088896341f), magic);
  const typename L::Reg n = L::sub(biased, magic);
  typename L::Reg r = L::fma(n, L::set1(-0.693145751953125f), x);  // ln 2 in two parts,
  r = L::fma(n, L::set1(-1.42860682030941723e-6f), r);             // the first exact times n
  typename L::Reg p = L::set1(1.0f / 5040);
  p = L::fma(p, r, L::set1(1.0f / 720));
  p = L::fma(p, r, L::set1(1.0f / 120));
  p = L::fma(p, r, L::set1(1.0f / 24));
  p = L::fma(p, r, L::set1(1.0f / 6));
  p = L::fma(p, r, L::set1(0.5f));
  p = L::fma(p, r, L::set1(1.0f));
  p = L::fma(p, r, L::set1(1.0f));
  return L::scale_by_power(p, biased);
}

template <class Lanes>
float largest(const float* values, int64_t count) {
  typename Lanes::Reg best = Lanes::load(values);
  for (int64_t i = kLanes; i < count; i += kLanes) {
    best = Lanes::max(best, Lanes::load(values + i));
  }
  alignas(64) float lane[kLanes];
  Lanes::store(lane, best);
  float result = lane[0];
  for (int64_t i = 1; i < kLanes; ++i) result = result > lane[i] ? result : lane[i];
  return result;
}

template <class Lanes>
float exp_and_sum(float* values, int64_t count, float shift) {
  const typename Lanes::Reg shifts = Lanes::set1(shift);
  typename Lanes::Reg sum = Lanes::set1(0.0f);
  for (int64_t i = 0; i < count; i += kLanes) {
    const typename Lanes::Reg e = exponential<Lanes>(Lanes::sub(Lanes::load(values + i), shifts));
    Lanes::store(values + i, e);
    sum = Lanes::add(sum, e);
  }
  alignas(64) float s[kLanes];
  Lanes::store(s, sum);
  return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
}

// x / (1 + exp(-scaled)): x sigmoid(scaled).
template <class Lanes>
typename Lanes::Reg times_sigmoid(typename Lanes::Reg x, typename Lanes::Reg scaled) {
  const typename Lanes::Reg e = exponential<Lanes>(Lanes::sub(Lanes::set1(0.0f), scaled));
  return Lanes::div(x, Lanes::add(Lanes::set1(1.0f), e));
}

template <class Lanes>
void activate(Activation activation, float* values, int64_t count) {
  using L = Lanes;
  for (int64_t i = 0; i < count; i += kLanes) {
    const typename L::Reg x = L::load(values + i);
    switch (activation) {
      case Activation::kNone:
        return;
      case Activation::kRelu:  // the order of operands keeps NaN
        L::store(values + i, L::max(L::set1(0.0f), x));
        break;
      case Activation::kSilu:
        L::store(values + i, times_sigmoid<L>(x, x));
        break;
      case Activation::kGelu:
        for (int64_t j = i; j < i + kLanes; ++j) {
          values[j] = 0.5f * values[j] * (1.0f + __builtin_erff(values[j] * 0.70710678118654752f));
        }
        break;
      case Activation::kGeluTanh: {
        // 0.5 x (1 + tanh u) = x sigmoid(2u), u = sqrt(2 / pi) (x + 0.044715 x^3)
        const typename L::Reg inner = L::fma(L::mul(L::mul(x, x), x), L::set1(0.044715f), x);
        L::store(values + i,
                 times_sigmoid<L>(x, L::mul(inner, L::set1(2.0f * 0.79788456080286536f))));
        break;
      }
    }
  }
}

// ---- Weighted sums of rows ----------------------------------------------------------------------

// kQ queries, kD registers of consecutive columns.
template <class V, class W, int kQ, int kD>
void weighted_tile(const float* p, int64_t p_stride, const W* v, int64_t rows, int64_t size,
                   float* out) {
  typename V::Reg sum[kQ][kD];
  for (int q = 0; q < kQ; ++q) {
    for (int d = 0; d < kD; ++d) sum[q][d] = V::load(out + q * size + d * V::kWidth);
  }
  for (int64_t t = 0; t < rows; ++t) {
    typename V::Reg value[kD];
    for (int d = 0; d < kD; ++d) value[d] = V::load_weight(v + t * size + d * V::kWidth);
    for (int q = 0; q < kQ; ++q) {
      const typename V::Reg weight = V::set1(p[q * p_stride + t]);
      for (int d = 0; d < kD; ++d) sum[q][d] = V::fma(weight, value[d], sum[q][d]);
    }
  }
  for (int q = 0; q < kQ; ++q) {
    for (int d = 0; d < kD; ++d) V::store(out + q * size + d * V::kWidth, sum[q][d]);
  }
}

template <class Full, class Lanes, class W, int kQ>
void weighted_queries(const float* p, int64_t p_stride, const W* v, int64_t rows, int64_t size,
                      float* out) {
  constexpr int64_t kStep = 4 * Full::kWidth;
  int64_t d = 0;
  for (; d + kStep <= size; d += kStep) {
    weighted_tile<Full, W, kQ, 4>(p, p_stride, v + d, rows, size, out + d);
  }
  for (; d < size; d += kLanes) {
    weighted_tile<Lanes, W, kQ, 1>(p, p_stride, v + d, rows, size, out + d);
  }
}

template <class Full, class Lanes, class W>
void weighted_typed(const float* p, int64_t p_stride, int64_t queries, const W* v, int64_t rows,
                    int64_t size, float* out) {
  constexpr int kQ = Full::kTileQueries;
  int64_t q = 0;
  for (; q + kQ <= queries; q += kQ) {
    weighted_queries<Full, Lanes, W, kQ>(p + q * p_stride, p_stride, v, rows, size, out + q * size);
  }
  for (; q < queries; ++q) {
    weighted_queries<Full, Lanes, W, 1>(p + q * p_stride, p_stride, v, rows, size, out + q * size);
  }
}

template <class Full, class Lanes>
void add_weighted_rows(const float* p, int64_t p_stride, int64_t queries, const std::byte* v,
                       DType dtype, int64_t rows, int64_t size, float* out) {
  switch (dtype) {
    case DType::kF32:
      return weighted_typed<Full, Lanes>(p, p_stride, queries, reinterpret_cast<const float*>(v),
                                         rows, size, out);
    case DType::kF16:
      return weighted_typed<Full, Lanes>(p, p_stride, queries, reinterpret_cast<const F16*>(v),
                                         rows, size, out);
    case DType::kBF16:
      return weighted_typed<Full, Lanes>(p, p_stride, queries, reinterpret_cast<const BF16*>(v),
                                         rows, size, out);
    default:
      refuse_dtype("attention on the CPU", dtype);
  }
}

template <class Wide, class Full, class Lanes>
constexpr Kernels make_kernels(std::string_view isa) {
  return {.isa = isa,
          .accumulate = accumulate<Wide>,
          .reduce = Lanes::reduce,
          .largest = largest<Lanes>,
          .exp_and_sum = exp_and_sum<Lanes>,
          .add_weighted_rows = add_weighted_rows<Full, Lanes>,
          .activate = activate<Lanes>};
}
