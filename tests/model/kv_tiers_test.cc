// A KV cache over two tiers: wherever its pages lie, and however they move between steps, not a bit
// of the logits changes.
#include <algorithm>
#include <cstring>
#include <random>

#include "engine/decode_loop.h"
#include "engine/kv_cache.h"
#include "model/synthetic_support.h"
#include "ops/rows.h"
#include "support/cuda.h"

namespace dak {
namespace {

constexpr int64_t kContext = 400;
constexpr int kSteps = 12;

std::string config_of(const std::string& model) {
  return test::test_data(DAK_TEST_DATA) + "/model/step/" + model + "/config.json";
}

// Three sequences of different lengths on the CPU.
class Decoding {
 public:
  Decoding(const std::string& model, double kv_ratio)
      : model_(config_of(model), options(), 1),
        net_(family_named(config().family).make(config(), model_.weights)),
        workspace_(config(), kContext, 3, model_.weights.arena(0), DType::kF32),
        arenas_{&model_.weights.arena(0), &model_.weights.arena(1)},
        cache_(config(), DType::kBF16,
               uniform_kv_room(config().layers, 3 * kv_pages_for(kContext), kv_ratio), arenas_) {
    ctx_.pool = &model_.pool;
    for (size_t i = 0; i < holds_.size(); ++i) {
      const auto tokens = static_cast<int64_t>(60 + 150 * i);
      run({&holds_[i], 1}, std::vector<int64_t>{tokens});
    }
  }

  // One forward pass of so many tokens for each sequence; logits of their last ones.
  std::vector<float> run(std::span<KvHold> holds, const std::vector<int64_t>& counts) {
    Batch batch{.kv_dtype = DType::kBF16};
    for (size_t i = 0; i < holds.size(); ++i) {
      cache_.reserve(holds[i], holds[i].tokens + counts[i]);
      batch.sequences.push_back({.pages = &holds[i].pages,
                                 .past = holds[i].tokens,
                                 .first_row = batch.rows(),
                                 .rows = counts[i]});
      for (int64_t t = 0; t < counts[i]; ++t) {
        batch.positions.push_back(static_cast<int32_t>(holds[i].tokens));
        batch.tokens.push_back(static_cast<int32_t>(holds[i].tokens++ * 7 % config().vocabulary));
      }
      batch.logit_rows.push_back(static_cast<int32_t>(batch.rows() - 1));
    }
    ctx_.traffic = {};
    const auto logits = host_values(ctx_, net_->forward(ctx_, batch, workspace_));
    return {logits.begin(), logits.end()};
  }

  std::vector<float> decode(bool migrate) {
    std::mt19937 random(3);
    std::vector<float> all;
    for (int step = 0; step < kSteps; ++step) {
      for (int i = 0; migrate && i < 40; ++i) {
        KvHold& hold = holds_[random() % holds_.size()];
        cache_.move(hold, static_cast<int64_t>(random()) % config().layers,
                    static_cast<int64_t>(random()) % hold.page_count(),
                    static_cast<TierIndex>(random() % 2));
      }
      const std::vector<float> logits = run(holds_, {1, 1, 1});
      all.insert(all.end(), logits.begin(), logits.end());
    }
    return all;
  }

  int64_t remote_pages() const {
    int64_t pages = 0;
    for (const KvHold& hold : holds_) pages += KvCache::pages_in(hold, 1);
    return pages;
  }
  const TierTraffic& traffic() const { return ctx_.traffic; }
  const ModelConfig& config() const { return model_.files.config; }

 private:
  static EngineOptions options() {
    return {.offload_ratio = 0, .context = kContext, .synthetic_seed = 1, .dtype = DType::kBF16};
  }

  test::SyntheticModel model_;
  std::unique_ptr<Model> net_;
  Workspace workspace_;
  std::array<Arena*, 2> arenas_;
  KvCache cache_;
  OpContext ctx_;
  std::array<KvHold, 3> holds_;
};

class KvTiers : public testing::TestWithParam<const char*> {};

TEST_P(KvTiers, PlacementNeverChangesABit) {
  const std::vector<float> expected = Decoding(GetParam(), 0).decode(false);
  ASSERT_TRUE(std::ranges::all_of(expected, [](float x) { return std::isfinite(x); }));
  for (const double ratio : {0.05, 0.5, 0.95, 1.0}) {
    Decoding decoding(GetParam(), ratio);
    EXPECT_TRUE(decoding.decode(false) == expected) << "ratio " << ratio;
    if (ratio >= 0.5) {  // else every page that is used fits the local tier
      EXPECT_GT(decoding.remote_pages(), 0) << "ratio " << ratio;
    }
  }
}

TEST_P(KvTiers, MovingPagesBetweenStepsDoesNot) {
  const std::vector<float> expected = Decoding(GetParam(), 0).decode(false);
  EXPECT_TRUE(Decoding(GetParam(), 0.5).decode(true) == expected);
}

TEST_P(KvTiers, RemoteBytesReadAreThoseOfTheTokensThere) {
  Decoding decoding(GetParam(), 1);
  decoding.decode(false);
  const ModelConfig& c = decoding.config();
  int64_t bytes = 0;
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    for (const int64_t length : {60, 210, 360}) {
      const int64_t seen = length + kSteps;
      const int64_t window = c.window_of_layer(layer);
      bytes += (window > 0 ? std::min(window, seen) : seen) * 2 * c.kv_rows() * 2;
    }
  }
  EXPECT_EQ(decoding.traffic().read_bytes[1], bytes);
}

INSTANTIATE_TEST_SUITE_P(Models, KvTiers,
                         testing::Values("llama_64", "mistral_128", "opt_128", "qwen3_128"),
                         [](const auto& test) { return std::string(test.param); });

TEST(KvTiersEngine, ChoosesTheSameTokensAndReportsBytes) {
  std::vector<TokenId> expected;
  for (const double ratio : {0.0, 0.9}) {
    Engine engine(open_model(config_of("llama_64"), false),
                  {.offload_ratio = 0.2,
                   .kv_ratio = ratio,
                   .context = 300,
                   .sequences = 2,
                   .synthetic_seed = 1},
                  cpu_tiers(1e9));
    EXPECT_EQ(engine.plan().fixed.kv_remote_bytes > 0, ratio > 0);
    DecodeLoop loop(engine, 2, 250, 3);
    const DecodeTiming timing = loop.run(40);
    const auto tokens = loop.last_tokens();
    if (expected.empty()) expected.assign(tokens.begin(), tokens.end());
    EXPECT_TRUE(std::ranges::equal(tokens, expected)) << "ratio " << ratio;
    EXPECT_GT(timing.traffic.read_bytes[1], 0);
  }
}

TEST(KvTiersEngine, ATierTooSmallIsSaidBeforeLoading) {
  try {
    Engine engine(open_model(config_of("llama_64"), false),
                  {.host_budget_bytes = 1000, .kv_ratio = 0.5, .context = 300, .synthetic_seed = 1},
                  cpu_tiers(1e9));
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("--kv-ratio"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace dak
