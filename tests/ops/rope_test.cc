#include "ops/rope.h"

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json.h"
#include "support/throws_error.h"
#include "tests/ops/support.h"

namespace dak::test {
namespace {

Json goldens() {
  const std::string path = DAK_TEST_DATA "/ops/rope_goldens.json";
  return parse_json(read_text_file(path), path);
}

RopeConfig config_of(const Json& golden) {
  const Json& p = golden["parameters"];
  RopeConfig config{.theta = p["rope_theta"], .rotary_dims = golden["head_size"]};
  const std::string type = p["rope_type"];
  if (type == "linear") config.scaling = RopeScaling::kLinear;
  if (type == "llama3") config.scaling = RopeScaling::kLlama3;
  if (type == "yarn") config.scaling = RopeScaling::kYarn;
  config.factor = p.value("factor", config.factor);
  config.low_freq_factor = p.value("low_freq_factor", config.low_freq_factor);
  config.high_freq_factor = p.value("high_freq_factor", config.high_freq_factor);
  config.original_context = p.value("original_max_position_embeddings", config.original_context);
  config.beta_fast = p.value("beta_fast", config.beta_fast);
  config.beta_slow = p.value("beta_slow", config.beta_slow);
  config.attention_factor = p.value("attention_factor", config.attention_factor);
  return config;
}

TEST(Rope, FrequenciesAreThoseOfTransformers) {
  const Json file = goldens();
  ASSERT_GE(file["cases"].size(), 6u);
  for (const Json& golden : file["cases"]) {
    const RopeFrequencies ours = rope_frequencies(config_of(golden));
    const std::vector<float> theirs = golden["inverse"];
    ASSERT_EQ(ours.inverse.size(), theirs.size());
    EXPECT_NEAR(ours.magnitude, golden["magnitude"].get<float>(), 1e-7f);
    for (size_t i = 0; i < theirs.size(); ++i) {
      // 4 ulp: torch's pow errs by one, the blend of scalings by a few roundings.
      EXPECT_NEAR(ours.inverse[i], theirs[i], 4 * 0x1p-23f * theirs[i]) << golden["name"] << i;
    }
  }
}

TEST(Rope, RotatesLikeTransformers) {
  const Json file = goldens();
  const std::vector<int32_t> positions = file["positions"];
  const int64_t heads = file["heads"];
  const auto m = static_cast<int64_t>(positions.size());
  for (const Json& golden : file["cases"]) {
    const int64_t head_size = golden["head_size"];
    RopeFrequencies frequencies = rope_frequencies(config_of(golden));
    // Their frequencies, so that a last bit times a large position does not hide an error.
    frequencies.inverse = golden["inverse"].get<std::vector<float>>();
    const std::vector<float> theirs = golden["rotated"];
    std::vector<float> first;
    for_each_way([&](OpContext& ctx) {
      const Guarded x({m, heads, head_size}, golden["x"].get<std::vector<float>>());
      rope(ctx, positions, frequencies, x.tensor());
      ASSERT_TRUE(x.intact());
      if (first.empty()) first = x.values();
      ASSERT_TRUE(same_bits(x.values(), first));
    });
    for (size_t i = 0; i < theirs.size(); ++i) {
      EXPECT_NEAR(first[i], theirs[i], 2e-6f) << golden["name"] << " " << i;
    }
  }
}

TEST(Rope, CloseToFp64AndLeavesTheRestOfTheHead) {
  const int64_t m = 7;
  const int64_t heads = 3;
  const int64_t head_size = 80;
  const RopeFrequencies frequencies = rope_frequencies({.theta = 10000.0, .rotary_dims = 32});
  const auto x = random_values(m * heads * head_size, 1);
  const std::vector<int32_t> positions{0, 5, 1, 1000, 3, 2047, 63};
  std::vector<float> naive = x;
  std::vector<double> exact(x.begin(), x.end());
  std::vector<double> magnitude;
  for (const float value : x) magnitude.push_back(std::abs(value));
  for (int64_t row = 0; row < m * heads; ++row) {
    for (int64_t i = 0; i < 16; ++i) {
      const auto a = static_cast<size_t>(row * head_size + i);
      const size_t b = a + 16;
      // The angle is rounded to f32 by definition (as transformers does).
      const float angle = static_cast<float>(positions[static_cast<size_t>(row / heads)]) *
                          frequencies.inverse[static_cast<size_t>(i)];
      const double c = std::cos(static_cast<double>(angle));
      const double s = std::sin(static_cast<double>(angle));
      const auto cf = static_cast<float>(c);
      const auto sf = static_cast<float>(s);
      exact[a] = x[a] * c - x[b] * s;
      exact[b] = x[b] * c + x[a] * s;
      naive[a] = x[a] * cf - x[b] * sf;
      naive[b] = x[b] * cf + x[a] * sf;
      magnitude[a] = magnitude[b] = std::hypot(x[a], x[b]);
    }
  }
  ThreadPool pool(2);
  OpContext ctx;
  ctx.pool = &pool;
  const Guarded out({m, heads, head_size}, x);
  rope(ctx, positions, frequencies, out.tensor());
  const Comparison c = compare(out.values(), naive, exact, magnitude);
  EXPECT_TRUE(c.ok) << c.message;
}

TEST(Rope, DivisorsOfGguf) {
  RopeConfig config{.theta = 10000.0, .rotary_dims = 4, .frequency_divisors = {1.0f, 8.0f}};
  const RopeFrequencies f = rope_frequencies(config);
  EXPECT_FLOAT_EQ(f.inverse[0], 1.0f);
  EXPECT_FLOAT_EQ(f.inverse[1], 0.01f / 8.0f);
  config.frequency_divisors.push_back(1.0f);
  EXPECT_TRUE(test::throws_error(ErrorCode::kInternal,
                                 "rope: one frequency divisor per pair of rotary dimensions",
                                 [&] { rope_frequencies(config); }));
}

TEST(Rope, RejectsShapesThatDisagree) {
  ThreadPool pool(1);
  OpContext ctx;
  ctx.pool = &pool;
  const Guarded x({2, 1, 8}, 1.0f);
  const RopeFrequencies wide = rope_frequencies({.rotary_dims = 16});
  const RopeFrequencies right = rope_frequencies({.rotary_dims = 8});
  EXPECT_TRUE(test::throws_error(ErrorCode::kInternal,
                                 "rope: more rotary dimensions than the head has", [&] {
                                   rope(ctx, std::vector<int32_t>{0, 1}, wide, x.tensor());
                                 }));
  EXPECT_TRUE(test::throws_error(ErrorCode::kInternal, "rope: one position per row of x",
                                 [&] { rope(ctx, std::vector<int32_t>{0}, right, x.tensor()); }));
  EXPECT_TRUE(test::throws_error(ErrorCode::kInternal, "rope: rotary dimensions must be even",
                                 [&] { rope_frequencies({.rotary_dims = 7}); }));
}

}  // namespace
}  // namespace dak::test
