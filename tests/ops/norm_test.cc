#include "ops/norm.h"

#include "support/throws_error.h"
#include "tests/ops/support.h"

namespace dak::test {
namespace {

struct Case {
  std::vector<int64_t> shape;
  float offset;  // a mean far from zero is what a one-pass variance gets wrong
};

const Case kCases[] = {{{1, 1}, 0},   {{3, 7}, 0},      {{2, 8}, 0},     {{5, 65}, 3},
                       {{4, 576}, 0}, {{2, 4096}, 100}, {{3, 4, 64}, 0}, {{130, 9, 80}, 1}};

// A plain loop in T over one vector; `layer`: LayerNorm, else RMSNorm.
template <class T>
std::vector<T> reference(const float* x, const float* weight, const float* bias, int64_t d,
                         T epsilon, bool layer) {
  T mean = 0;
  if (layer) {
    for (int64_t i = 0; i < d; ++i) mean += x[i];
    mean /= static_cast<T>(d);
  }
  T squares = 0;
  for (int64_t i = 0; i < d; ++i) squares += (x[i] - mean) * (x[i] - mean);
  const T scale = 1 / std::sqrt(squares / static_cast<T>(d) + epsilon);
  std::vector<T> y;
  for (int64_t i = 0; i < d; ++i) {
    y.push_back((x[i] - mean) * scale * weight[i] + (layer ? static_cast<T>(bias[i]) : T{0}));
  }
  return y;
}

void check(const Case& c, bool layer) {
  const int64_t d = c.shape.back();
  int64_t count = 1;
  for (const int64_t dim : c.shape) count *= dim;
  auto x = random_values(count, 1);
  for (float& value : x) value += c.offset;
  const auto weight = random_values(d, 2);
  const auto bias = random_values(d, 3);
  constexpr float kEpsilon = 1e-5f;
  std::vector<float> naive;
  std::vector<double> exact;
  std::vector<double> magnitude;
  for (int64_t at = 0; at < count; at += d) {
    const auto n = reference<float>(&x[static_cast<size_t>(at)], weight.data(), bias.data(), d,
                                    kEpsilon, layer);
    const auto e = reference<double>(&x[static_cast<size_t>(at)], weight.data(), bias.data(), d,
                                     kEpsilon, layer);
    naive.insert(naive.end(), n.begin(), n.end());
    exact.insert(exact.end(), e.begin(), e.end());
    for (int64_t i = 0; i < d; ++i) {
      // Subtracting the mean is relative to |x| + |mean|, scaled like the result.
      const double beta = layer ? bias[static_cast<size_t>(i)] : 0.0;
      magnitude.push_back(std::abs(e[static_cast<size_t>(i)] - beta) + std::abs(beta) +
                          (layer ? (1 + c.offset) * std::abs(weight[static_cast<size_t>(i)]) : 0));
    }
  }
  std::vector<float> first;
  for_each_way([&](OpContext& ctx) {
    for (const bool in_place : {false, true}) {
      const Guarded in(c.shape, x);
      const Guarded separate(c.shape);
      const Guarded& out = in_place ? in : separate;
      if (layer) {
        layer_norm(ctx, in.tensor(), weight.data(), bias.data(), kEpsilon, out.tensor());
      } else {
        rms_norm(ctx, in.tensor(), weight.data(), kEpsilon, out.tensor());
      }
      ASSERT_TRUE(out.intact());
      if (first.empty()) first = out.values();
      ASSERT_TRUE(same_bits(out.values(), first));
    }
  });
  const Comparison result = compare(first, naive, exact, magnitude);
  EXPECT_TRUE(result.ok) << "d " << d << ": " << result.message;
}

TEST(Norm, RmsNormCloseToFp64) {
  for (const Case& c : kCases) check(c, false);
}

TEST(Norm, LayerNormCloseToFp64) {
  for (const Case& c : kCases) check(c, true);
}

TEST(Norm, RejectsShapesThatDisagree) {
  ThreadPool pool(1);
  OpContext ctx;
  ctx.pool = &pool;
  const Guarded x({2, 8}, 1.0f);
  const Guarded out({8, 2});
  const std::vector<float> weight(8, 1.0f);
  EXPECT_TRUE(test::throws_error(ErrorCode::kInternal, "norm: shapes of x and out differ", [&] {
    rms_norm(ctx, x.tensor(), weight.data(), 1e-5f, out.tensor());
  }));
  EXPECT_TRUE(test::throws_error(ErrorCode::kInternal, "rms_norm: no weight",
                                 [&] { rms_norm(ctx, x.tensor(), nullptr, 1e-5f, x.tensor()); }));
  EXPECT_TRUE(test::throws_error(ErrorCode::kInternal, "layer_norm: no weight or no bias", [&] {
    layer_norm(ctx, x.tensor(), weight.data(), nullptr, 1e-5f, x.tensor());
  }));
}

}  // namespace
}  // namespace dak::test
