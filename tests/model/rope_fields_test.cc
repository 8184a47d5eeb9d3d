// Rotary embeddings as config.json and GGUF metadata describe them. What the scalings compute is
// tests/ops/rope_test.cc's.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "format/model_json.h"
#include "model/config.h"
#include "model/rope_gguf.h"
#include "ops/rope.h"
#include "support/throws_error.h"

namespace dak {
namespace {

using test::throws_error;

// Four heads of 16, 512 positions.
Json llama(const Json& rope) {
  Json json =
      read_model_json(std::filesystem::path(DAK_TEST_DATA) / "model/hf/llama3_gqa/config.json");
  json.erase("rope_parameters");
  json.update(rope);
  return json;
}

RopeConfig hf(const Json& rope) { return parse_hf_config(llama(rope), "config.json").rope; }

Json yarn(const Json& more) {
  Json json{{"rope_type", "yarn"},
            {"factor", 4.0},
            {"original_max_position_embeddings", 128},
            {"rope_theta", 10000.0}};
  json.update(more);
  return {{"rope_parameters", json}};
}

void expect_same(const RopeConfig& a, const RopeConfig& b) {
  const RopeFrequencies of_a = rope_frequencies(a);
  const RopeFrequencies of_b = rope_frequencies(b);
  EXPECT_EQ(of_a.inverse, of_b.inverse);
  EXPECT_FLOAT_EQ(of_a.magnitude, of_b.magnitude);
}

TEST(HfRope, MscaleOfYarn) {
  const auto g = [](double mscale) { return 0.1 * mscale * std::log(4.0) + 1; };
  for (const auto& [a, b] : {std::pair(1.0, 1.0), std::pair(0.707, 1.3)}) {
    expect_same(hf(yarn({{"mscale", a}, {"mscale_all_dim", b}})),
                hf(yarn({{"attention_factor", g(a) / g(b)}})));
  }
  // One of the two, or 0: as without.
  for (const Json& more : {Json{{"mscale", 0.5}}, Json{{"mscale_all_dim", 0.5}},
                           Json{{"mscale", 0.0}, {"mscale_all_dim", 0.5}}}) {
    expect_same(hf(yarn(more)), hf(yarn(Json::object())));
  }
  // attention_factor goes first.
  expect_same(hf(yarn({{"mscale", 0.7}, {"mscale_all_dim", 1.3}, {"attention_factor", 1.1}})),
              hf(yarn({{"attention_factor", 1.1}})));
}

TEST(HfRope, YarnsOtherFields) {
  expect_same(hf(yarn({{"factor", nullptr}})), hf(yarn({{"factor", 512.0 / 128}})));
  expect_same(hf(yarn({{"beta_fast", nullptr}, {"beta_slow", 0}})), hf(yarn(Json::object())));
  EXPECT_NE(rope_frequencies(hf(yarn({{"truncate", false}}))).inverse,
            rope_frequencies(hf(yarn({{"truncate", true}}))).inverse);
  Json top = yarn({{"original_max_position_embeddings", 256}});
  top["original_max_position_embeddings"] = 128;  // goes before the nested one
  expect_same(hf(top), hf(yarn(Json::object())));
  Json missing = yarn(Json::object());
  missing["rope_parameters"].erase("factor");
  EXPECT_TRUE(throws_error(ErrorCode::kCorrupt, {"rope_parameters.factor", "is missing"},
                           [&] { hf(missing); }));
}

// The dimensions between which the ramp runs, without rounding them.
TEST(HfRope, WithoutTruncateTheRampIsFractional) {
  const RopeConfig config = hf(yarn({{"truncate", false}}));
  const double low = 16 * std::log(128 / (32 * 2 * M_PI)) / (2 * std::log(10000.0));
  const double high = 16 * std::log(128 / (2 * M_PI)) / (2 * std::log(10000.0));
  const RopeFrequencies f = rope_frequencies(config);
  for (size_t i = 0; i < f.inverse.size(); ++i) {
    const double ramp = std::clamp(
        (static_cast<double>(i) - std::max(low, 0.0)) / (high - std::max(low, 0.0)), 0.0, 1.0);
    const double plain = std::pow(10000.0, -static_cast<double>(i) / 8);
    EXPECT_NEAR(f.inverse[i], plain / 4 * ramp + plain * (1 - ramp), 1e-6 * plain) << i;
  }
}

TEST(HfRope, OldAndNewSpellings) {
  const Json scaling{{"type", "linear"}, {"factor", 2.0}};
  const RopeConfig want = hf({{"rope_theta", 5000.0}, {"rope_scaling", scaling}});
  EXPECT_EQ(want.theta, 5000);
  expect_same(want, hf({{"rope_parameters",
                         {{"rope_type", "linear"}, {"factor", 2.0}, {"rope_theta", 5000.0}}}}));
  // One for each kind of layer, when they agree.
  const Json linear{{"rope_type", "linear"}, {"factor", 2.0}, {"rope_theta", 5000.0}};
  Json other = linear;
  other["factor"] = 3.0;
  expect_same(
      want, hf({{"rope_parameters", {{"full_attention", linear}, {"sliding_attention", linear}}}}));
  EXPECT_TRUE(throws_error(ErrorCode::kUnsupported, {"rope_parameters.", "differs"}, [&] {
    hf({{"rope_parameters", {{"full_attention", linear}, {"sliding_attention", other}}}});
  }));
  // rope_scaling goes before rope_parameters.
  expect_same(hf({{"rope_theta", 5000.0},
                  {"rope_scaling", scaling},
                  {"rope_parameters", {{"rope_type", "default"}}}}),
              want);
  EXPECT_EQ(hf({{"partial_rotary_factor", 0.5}}).rotary_dims, 8);
  EXPECT_EQ(hf({{"partial_rotary_factor", 1.0},
                {"rope_parameters", {{"rope_type", "default"}, {"partial_rotary_factor", 0.5}}}})
                .rotary_dims,
            8);
}

TEST(HfRope, RefusedByName) {
  struct Case {
    Json rope;
    ErrorCode code;
    std::vector<std::string> words;
  };
  const Case cases[] = {
      {{{"rope_scaling", {{"rope_type", "longrope"}, {"factor", 2.0}}}},
       ErrorCode::kUnsupported,
       {"rope_scaling.rope_type", "longrope", "known"}},
      {yarn({{"alpha", 1000.0}}), ErrorCode::kUnsupported, {"rope_parameters.alpha", "1000"}},
      {yarn({{"factor", 0.0}}), ErrorCode::kCorrupt, {"rope_parameters.factor", "positive"}},
      {{{"rope_scaling", {{"type", "linear"}}}}, ErrorCode::kCorrupt, {"factor", "missing"}},
      {{{"rope_scaling", {{"type", "llama3"}, {"factor", 8.0}}}},
       ErrorCode::kCorrupt,
       {"rope_scaling.low_freq_factor"}},
      {{{"rope_theta", 0}}, ErrorCode::kCorrupt, {"rope_theta", "positive"}},
      {{{"rope_theta", std::nan("")}}, ErrorCode::kCorrupt, {"rope_theta", "NaN"}},
      {{{"partial_rotary_factor", 1.5}}, ErrorCode::kCorrupt, {"partial_rotary_factor"}},
      {{{"rope_scaling", "linear"}}, ErrorCode::kCorrupt, {"rope_scaling", "object"}},
  };
  for (const Case& c : cases) {
    EXPECT_TRUE(throws_error(c.code, c.words, [&] { hf(c.rope); })) << c.rope.dump();
  }
  // It changes nothing up to max_position_embeddings.
  expect_same(hf({{"rope_scaling", {{"type", "dynamic"}, {"factor", 2.0}}}}), hf(Json::object()));
}

RopeConfig gguf(std::map<std::string, GgufValue, std::less<>> values) {
  const GgufMetadata metadata("m.gguf", std::move(values));
  return parse_gguf_rope(GgufFields(metadata, "llama"), Checkpoint({}, {}), 16, 512);
}

TEST(GgufRope, AFactorNeedsNoType) {
  const GgufValue four = 4.0;
  const GgufValue linear = std::string("linear");
  const RopeConfig want =
      gguf({{"llama.rope.scaling.type", linear}, {"llama.rope.scaling.factor", four}});
  EXPECT_EQ(want.scaling, RopeScaling::kLinear);
  EXPECT_EQ(want.factor, 4);
  expect_same(gguf({{"llama.rope.scaling.factor", four}}), want);
  expect_same(gguf({{"llama.rope.scale_linear", four}}), want);
  // 0 means 1, as in llama.cpp; "none" never scales.
  expect_same(gguf({{"llama.rope.scaling.factor", 0.0}}), gguf({}));
  expect_same(
      gguf({{"llama.rope.scaling.type", std::string("none")}, {"llama.rope.scaling.factor", four}}),
      gguf({}));
}

TEST(GgufRope, FactorsOnCosineAndSine) {
  const GgufValue yarn = std::string("yarn");
  const auto magnitude = [](const RopeConfig& rope) { return rope_frequencies(rope).magnitude; };
  EXPECT_FLOAT_EQ(magnitude(gguf({{"llama.rope.scaling.attn_factor", 0.8}})), 0.8f);
  EXPECT_FLOAT_EQ(magnitude(gguf({{"llama.rope.scaling.yarn_attn_factor", 0.8}})), 0.8f);
  const auto plain = static_cast<float>(0.1 * std::log(4.0) + 1);
  EXPECT_FLOAT_EQ(
      magnitude(gguf({{"llama.rope.scaling.type", yarn}, {"llama.rope.scaling.factor", 4.0}})),
      plain);
  EXPECT_FLOAT_EQ(magnitude(gguf({{"llama.rope.scaling.type", yarn},
                                  {"llama.rope.scaling.factor", 4.0},
                                  {"llama.rope.scaling.attn_factor", 0.5}})),
                  0.5f * plain);
  EXPECT_NE(rope_frequencies(gguf({{"llama.rope.scaling.type", yarn},
                                   {"llama.rope.scaling.factor", 4.0},
                                   {"llama.rope.scaling.yarn_beta_fast", 2.0}}))
                .inverse,
            rope_frequencies(
                gguf({{"llama.rope.scaling.type", yarn}, {"llama.rope.scaling.factor", 4.0}}))
                .inverse);
}

TEST(GgufRope, RefusedByName) {
  EXPECT_TRUE(throws_error(ErrorCode::kUnsupported, {"llama.rope.scaling.type", "longrope"}, [] {
    gguf({{"llama.rope.scaling.type", std::string("longrope")}});
  }));
  EXPECT_TRUE(throws_error(ErrorCode::kCorrupt, {"llama.rope.scaling.factor", "-1"}, [] {
    gguf({{"llama.rope.scaling.factor", -1.0}});
  }));
  EXPECT_TRUE(throws_error(ErrorCode::kUnsupported, "llama.rope.scaling.yarn_ext_factor", [] {
    gguf({{"llama.rope.scaling.yarn_ext_factor", 1.0}});
  }));
  EXPECT_TRUE(throws_error(ErrorCode::kCorrupt, {"llama.rope.freq_base", "finite"}, [] {
    gguf({{"llama.rope.freq_base", std::nan("")}});
  }));
}

}  // namespace
}  // namespace dak
