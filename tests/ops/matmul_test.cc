#include "ops/matmul.h"

#include <cmath>

#include "support/throws_error.h"
#include "tests/ops/support.h"

namespace dak::test {
namespace {

constexpr int64_t kRows[] = {1, 7, 8, 15, 16, 17, 63, 64, 65, 128, 200};
constexpr int64_t kCols[] = {1, 8, 9, 63, 64, 65, 127, 300};
constexpr int64_t kBatches[] = {1, 2, 3, 7, 8, 16, 17, 64, 130};

struct Reference {
  std::vector<float> naive;
  std::vector<double> exact;
  std::vector<double> magnitude;
};

// x [m, k], w [n, k] row-major.
Reference product(const std::vector<float>& x, const std::vector<float>& w, int64_t m, int64_t n,
                  int64_t k) {
  Reference result;
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      float naive = 0;
      double exact = 0;
      double magnitude = 0;
      for (int64_t c = 0; c < k; ++c) {
        const float a = x[static_cast<size_t>(i * k + c)];
        const float b = w[static_cast<size_t>(j * k + c)];
        naive += a * b;
        exact += static_cast<double>(a) * b;
        magnitude += std::abs(static_cast<double>(a) * b);
      }
      result.naive.push_back(naive);
      result.exact.push_back(exact);
      result.magnitude.push_back(magnitude);
    }
  }
  return result;
}

struct Machine {
  ThreadPool pool{2};
  OpContext ctx;
  Machine() { ctx.pool = &pool; }
};

TEST(Matmul, CloseToFp64OverShapesAndTypes) {
  Machine machine;
  size_t batch = 0;
  uint32_t seed = 1;
  for (const DType dtype : kFloatTypes) {
    for (const int64_t n : kRows) {
      for (const int64_t k : kCols) {
        // Each shape meets three batches; each batch meets every shape of another type.
        for (int repeat = 0; repeat < 3; ++repeat) {
          const int64_t m = kBatches[batch++ % std::size(kBatches)];
          SCOPED_TRACE(testing::Message() << name(dtype) << " n " << n << " k " << k << " m " << m);
          const auto x = random_values(m * k, ++seed);
          const auto w = rounded(random_values(n * k, ++seed), dtype);
          const Weight weight = make_weight(w, n, k, dtype, 0.5);
          const Guarded out({m, n});
          const Guarded input({m, k}, x);
          matmul(machine.ctx, input.tensor(), weight.tensor, out.tensor());
          const Reference r = product(x, w, m, n, k);
          const Comparison c = compare(out.values(), r.naive, r.exact, r.magnitude);
          ASSERT_TRUE(c.ok) << c.message;
          ASSERT_TRUE(out.intact());
        }
      }
    }
  }
}

TEST(Matmul, SameBitsForEveryPlacementMachineThreadsAndBatch) {
  for (const DType dtype : kFloatTypes) {
    for (const auto& shape : {std::pair<int64_t, int64_t>{200, 300}, {320, 64}, {80, 1100}}) {
      const int64_t n = shape.first;
      const int64_t k = shape.second;
      const auto w = random_values(n * k, 5);
      constexpr int64_t kMost = 70;
      const auto x = random_values(kMost * k, 6);
      std::vector<float> expected;  // [kMost, n], from the first way
      for_each_way([&](OpContext& ctx) {
        const auto check = [&](double ratio, int64_t m) {
          const Weight weight = make_weight(w, n, k, dtype, ratio);
          const Guarded input({m, k}, {x.begin(), x.begin() + m * k});
          const Guarded out({m, n});
          matmul(ctx, input.tensor(), weight.tensor, out.tensor());
          ASSERT_TRUE(out.intact());
          if (expected.empty()) expected = out.values();
          ASSERT_TRUE(same_bits(out.values(), {expected.begin(), expected.begin() + m * n}))
              << "ratio " << ratio << " m " << m;
        };
        for (const int64_t m : {kMost, int64_t{17}, int64_t{5}}) check(0.5, m);
        for (const double ratio : kRatios) check(ratio, 1);
      });
    }
  }
}

TEST(Matmul, CountsEveryBlockOnce) {
  Machine machine;
  const int64_t n = 500;
  const int64_t k = 100;
  const Weight weight = make_weight(random_values(n * k, 1), n, k, DType::kBF16, 0.5);
  for (const int64_t m : {1, 130}) {
    const Guarded x({m, k}, random_values(m * k, 2));
    const Guarded out({m, n});
    machine.ctx.traffic = {};
    matmul(machine.ctx, x.tensor(), weight.tensor, out.tensor());
    EXPECT_EQ(machine.ctx.traffic.read_bytes[0], 4 * 64 * 128 * 2);
    EXPECT_EQ(machine.ctx.traffic.read_bytes[1], 4 * 64 * 128 * 2);
  }
}

double activation_exact(Activation activation, double x) {
  switch (activation) {
    case Activation::kNone:
      return x;
    case Activation::kRelu:
      return std::max(0.0, x);
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    case Activation::kGelu:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  }
  return 0;
}

constexpr Activation kActivations[] = {Activation::kNone, Activation::kRelu, Activation::kSilu,
                                       Activation::kGelu, Activation::kGeluTanh};

TEST(Matmul, EpilogueAddsBiasThenActivatesThenAddsToOutput) {
  Machine machine;
  const int64_t m = 3;
  const int64_t n = 77;
  const int64_t k = 65;
  const auto x = random_values(m * k, 1);
  const auto w = random_values(n * k, 2, 0.2f);
  const auto bias = random_values(n, 3);
  const auto residual = random_values(m * n, 4);
  const Weight weight = make_weight(w, n, k, DType::kF32);
  const Guarded input({m, k}, x);
  for (const Activation activation : kActivations) {
    for (const bool add : {false, true}) {
      const Guarded out({m, n}, residual);
      matmul(machine.ctx, input.tensor(), weight.tensor, out.tensor(),
             {.bias = bias.data(), .activation = activation, .add_to_output = add});
      Reference r = product(x, w, m, n, k);
      for (size_t i = 0; i < r.exact.size(); ++i) {
        const size_t column = i % static_cast<size_t>(n);
        const auto finish = [&](double sum) {
          return activation_exact(activation, sum + bias[column]) + (add ? residual[i] : 0.0f);
        };
        r.naive[i] = static_cast<float>(finish(r.naive[i]));
        r.exact[i] = finish(r.exact[i]);
        r.magnitude[i] += std::abs(bias[column]) + (add ? std::abs(residual[i]) : 0.0f);
      }
      const Comparison c = compare(out.values(), r.naive, r.exact, r.magnitude);
      EXPECT_TRUE(c.ok) << static_cast<int>(activation) << " " << add << ": " << c.message;
      EXPECT_TRUE(out.intact());
    }
  }
}

TEST(MatmulGated, ActivatesGateAndMultipliesUp) {
  const int64_t k = 70;
  for (const int64_t n : {8, 24, 32, 40, 136}) {
    for (const int64_t m : {1, 5, 33}) {
      const auto x = random_values(m * k, 1);
      const auto gate = random_values(n * k, 2, 0.2f);
      const auto up = random_values(n * k, 3);
      std::vector<float> interleaved;
      for (int64_t r = 0; r < 2 * n; ++r) {
        const GatedRow source = gated_source_row(r);
        const float* row = (source.is_up ? up : gate).data() + source.row * k;
        interleaved.insert(interleaved.end(), row, row + k);
      }
      const Reference g = product(x, gate, m, n, k);
      const Reference u = product(x, up, m, n, k);
      Reference r;
      for (size_t i = 0; i < g.exact.size(); ++i) {
        const double silu = activation_exact(Activation::kSilu, g.exact[i]);
        r.exact.push_back(silu * u.exact[i]);
        r.naive.push_back(g.naive[i] / (1.0f + std::exp(-g.naive[i])) * u.naive[i]);
        r.magnitude.push_back(std::abs(silu) * u.magnitude[i] +
                              g.magnitude[i] * std::abs(u.exact[i]));
      }
      const Guarded input({m, k}, x);
      std::vector<float> expected;
      for_each_way([&](OpContext& ctx) {
        for (const double ratio : kRatios) {
          const Weight weight = make_weight(interleaved, 2 * n, k, DType::kF32, ratio);
          const Guarded out({m, n});
          matmul_gated(ctx, input.tensor(), weight.tensor, out.tensor(), Activation::kSilu);
          ASSERT_TRUE(out.intact());
          if (expected.empty()) expected = out.values();
          ASSERT_TRUE(same_bits(out.values(), expected));
        }
      });
      const Comparison c = compare(expected, r.naive, r.exact, r.magnitude);
      EXPECT_TRUE(c.ok) << "n " << n << " m " << m << ": " << c.message;
    }
  }
}

TEST(Matmul, RejectsShapesThatDisagree) {
  Machine machine;
  const Weight weight = make_weight(random_values(64 * 32, 1), 64, 32, DType::kF32);
  const Guarded x({2, 32}, 1.0f);
  const Guarded wrong_x({2, 31}, 1.0f);
  const Guarded out({2, 64});
  const Guarded wrong_out({3, 64});
  EXPECT_TRUE(test::throws_error(
      ErrorCode::kInternal, "matmul: columns of x and of the weight differ",
      [&] { matmul(machine.ctx, wrong_x.tensor(), weight.tensor, out.tensor()); }));
  EXPECT_TRUE(test::throws_error(ErrorCode::kInternal, "matmul: rows of x and of out differ", [&] {
    matmul(machine.ctx, x.tensor(), weight.tensor, wrong_out.tensor());
  }));
  EXPECT_TRUE(test::throws_error(
      ErrorCode::kInternal, "matmul: columns of out and rows of the weight differ", [&] {
        matmul_gated(machine.ctx, x.tensor(), weight.tensor, out.tensor(), Activation::kSilu);
      }));
  TieredTensor short_weight = weight.tensor;
  short_weight.rows = 65;
  const Guarded out65({2, 65});
  EXPECT_TRUE(test::throws_error(ErrorCode::kInternal, "matmul: the weight lacks row blocks", [&] {
    matmul(machine.ctx, x.tensor(), short_weight, out65.tensor());
  }));
}

TEST(Matmul, NanInWeightReachesItsOutputAlone) {
  Machine machine;
  auto w = random_values(70 * 40, 1);
  w[33 * 40 + 7] = kPoison;
  const Weight weight = make_weight(w, 70, 40, DType::kBF16);
  const Guarded x({2, 40}, 1.0f);
  const Guarded out({2, 70});
  matmul(machine.ctx, x.tensor(), weight.tensor, out.tensor(), {.activation = Activation::kSilu});
  const auto values = out.values();
  for (size_t i = 0; i < values.size(); ++i) EXPECT_EQ(std::isnan(values[i]), i % 70 == 33) << i;
}

}  // namespace
}  // namespace dak::test
