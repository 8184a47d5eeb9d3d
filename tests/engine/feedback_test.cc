// Predicted against measured: wrong profiles must be found, and right ones left in peace.
#include "engine/feedback.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "engine/decode_loop.h"
#include "hardware/presets.h"
#include "plan/pass_bytes.h"
#include "support/throws_error.h"

namespace dak {
namespace {

namespace fs = std::filesystem;

const fs::path kRoot = DAK_SOURCE_DIR;

// A plan, and what it is predicted to do on one machine or another.
class Scene {
 public:
  Scene(const std::string& model, const HardwareProfile& profile, double ratio)
      : files_(open_model(kRoot / "configs" / model, false)), profile_(profile) {
    options_.device.backend = profile.device == "cpu" ? Backend::kCpu : Backend::kCuda;
    options_.offload_ratio = ratio;
    options_.sequences = 8;
    options_.hardware = profile;
    plan_ = plan_model(files_, options_, tiers_of(profile));
  }

  EntryForecast predict(const WorkloadEntry& entry, const HardwareProfile& on) const {
    EngineOptions options = options_;
    options.hardware = on;
    Plan plan = plan_;
    plan.tiers = tiers_of(on);
    return forecast_of(files_.config, options, plan, {entry}).entries.at(0);
  }

  // The steps of `actual`, judged by a prediction from `believed`.
  Feedback judge(const WorkloadEntry& entry, const HardwareProfile& believed,
                 const HardwareProfile& actual) const {
    const EntryForecast predicted = predict(entry, believed);
    const EntryForecast was = predict(entry, actual);
    const OperationTimes times = timed(was);
    const std::vector<Tier> tiers = tiers_of(believed);
    return compare({.predicted = predicted,
                    .measured_s = was.seconds,
                    .operations = &times,
                    .tiers = tiers,
                    .profile = &believed});
  }

  // As a timer would report them: one by one, slower than in a step.
  static OperationTimes timed(const EntryForecast& was) {
    OperationTimes times;
    for (const KindForecast& kind : was.kinds) {
      times.operations.push_back({.name = kind.name, .seconds = 1.1 * kind.seconds, .count = 1});
      times.total_s += 1.1 * kind.seconds;
    }
    return times;
  }

  static std::vector<Tier> tiers_of(const HardwareProfile& profile) {
    std::vector<Tier> tiers = profile.plan_tiers();
    for (Tier& tier : tiers) tier.capacity_bytes = int64_t{1} << 50;
    return tiers;
  }

 private:
  ModelFiles files_;
  HardwareProfile profile_;
  EngineOptions options_;
  Plan plan_;
};

const WorkloadEntry kDecode{.phase = Phase::kDecode, .batch = 8, .context = 513};

std::string all_of(const Feedback& feedback) {
  std::string text;
  for (const std::string& difference : feedback.differences) text += difference + "\n";
  return text;
}

void expect_said(const Feedback& feedback, std::initializer_list<const char*> parts) {
  const std::string text = all_of(feedback);
  for (const char* part : parts)
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
}

HardwareProfile cpu_profile() {
  HardwareProfile profile = hardware_named("h200");
  profile.device = "cpu";
  profile.peak_flops_per_s = {{DType::kF32, 2e11}, {DType::kBF16, 2e11}, {DType::kF16, 2e11}};
  profile.cpu_costs = CpuCosts{.product_local_share = 0.9,
                               .product_fixed_us = 4,
                               .attention_local_share = 0.5,
                               .attention_fixed_us = 20,
                               .norm_us = 2,
                               .pass_us = 40};
  for (TierProfile& tier : profile.tiers) {
    tier.channel = "DRAM";
    tier.read_bytes_per_s = 50e9;
    tier.local_under_load_bytes_per_s.reset();
  }
  return profile;
}

TEST(Feedback, SaysNothingWhereThePredictionHolds) {
  const HardwareProfile h200 = hardware_named("h200");
  const Scene scene("opt-30b", h200, 0.05);
  const Feedback feedback = scene.judge(kDecode, h200, h200);
  EXPECT_EQ(all_of(feedback), "");
  EXPECT_EQ(feedback.workload, "decode:batch=8,context=513");
  double sum = 0;
  for (const OperationFeedback& one : feedback.operations) {
    EXPECT_NEAR(one.measured_s, one.predicted_s, 1e-9) << one.name;
    sum += one.measured_s;
  }
  EXPECT_NEAR(sum, feedback.measured_s, 1e-9) << "scaled to the step";
}

// Events between a GPU's kernels cost short and long ones the same.
TEST(Feedback, TakesOffWhatTimingAddedToEachOperation) {
  const HardwareProfile h200 = hardware_named("h200");
  const Scene scene("opt-30b", h200, 0);
  const EntryForecast was = scene.predict(kDecode, h200);
  constexpr double kGap = 3e-6;
  OperationTimes times{.apart = true};
  for (const KindForecast& kind : was.kinds) {
    const double seconds = kind.seconds + kGap * static_cast<double>(kind.count);
    times.operations.push_back({.name = kind.name, .seconds = seconds, .count = kind.count});
    times.total_s += seconds;
  }
  const std::vector<Tier> tiers = Scene::tiers_of(h200);
  const Feedback feedback =
      compare({.predicted = was, .measured_s = was.seconds, .operations = &times, .tiers = tiers});
  EXPECT_NEAR(feedback.timed_gap_s, kGap, 1e-9);
  for (const OperationFeedback& one : feedback.operations) {
    EXPECT_NEAR(one.measured_s, one.predicted_s, 1e-9) << one.name;
  }
  times.operations.front().seconds = 1e-9;  // shorter than a gap: nothing is left of it
  const Feedback other =
      compare({.predicted = was, .measured_s = was.seconds, .operations = &times, .tiers = tiers});
  EXPECT_EQ(other.operations.front().measured_s, 0);
  EXPECT_EQ(all_of(other).find(other.operations.front().name), std::string::npos) << all_of(other);
  double sum = 0;
  for (const OperationFeedback& one : other.operations) sum += one.measured_s;
  EXPECT_NEAR(sum, was.seconds, 1e-6 * was.seconds);
}

TEST(Feedback, FindsALinkThatIsSlowerThanPlanned) {
  const HardwareProfile believed = hardware_named("h200");
  HardwareProfile actual = believed;
  actual.tiers[1].read_bytes_per_s = 30e9;
  const Scene scene("opt-30b", believed, 0.2);
  const Feedback feedback = scene.judge(kDecode, believed, actual);
  expect_said(feedback, {"a step took", "layers.*.up", "host link gave 29.9 GB/s of 51.4 GB/s",
                         "other traffic on the link"});
  EXPECT_EQ(all_of(feedback).find("attention"), std::string::npos) << all_of(feedback);
}

TEST(Feedback, FindsLocalMemoryBelowItsProfile) {
  const HardwareProfile believed = hardware_named("h200");
  HardwareProfile actual = believed;
  actual.tiers[0].read_bytes_per_s = 3.4e12;
  const Scene scene("opt-30b", believed, 0);
  expect_said(scene.judge(kDecode, believed, actual), {"layers.*.qkv", "HBM gave", "lower clocks"});
}

TEST(Feedback, FindsAProfileThatIsTooPessimistic) {
  HardwareProfile believed = hardware_named("h200");
  const HardwareProfile actual = believed;
  believed.tiers[1].read_bytes_per_s = 30e9;
  const Scene scene("opt-30b", believed, 0.2);
  expect_said(scene.judge(kDecode, believed, actual),
              {"bound by host link, too slow", "dak probe measures again"});
}

TEST(Feedback, FindsSmallOperationsThatCostMoreThanTheirProfileSays) {
  const HardwareProfile believed = cpu_profile();
  HardwareProfile actual = believed;
  actual.cpu_costs->norm_us = 400;
  const Scene scene("llama-3.1-8b", believed, 0);
  const WorkloadEntry entry{.phase = Phase::kDecode, .batch = 1, .context = 64};
  expect_said(scene.judge(entry, believed, actual),
              {"layers.*.norms", "bound by launches and small loops", "802.0 us each where 6.0"});
}

TEST(Feedback, FindsLessArithmeticThanTheProfilesPeak) {
  const HardwareProfile believed = cpu_profile();
  HardwareProfile actual = believed;
  for (auto& [dtype, peak] : actual.peak_flops_per_s) peak *= 0.6;
  const Scene scene("llama-3.1-8b", believed, 0);
  expect_said(scene.judge({.phase = Phase::kPrefill, .tokens = 512}, believed, actual),
              {"layers.*.gate_up", "less arithmetic than the profile's peak"});
}

TEST(Feedback, FindsWhatTheProfileNoLongerKnowsOfTheLink) {
  const HardwareProfile profile = hardware_named("h200");
  HardwareProfile now = profile;
  now.tiers[1].read_bytes_per_s = 25.7e9;
  const Scene scene("opt-30b", profile, 0.2);
  const EntryForecast predicted = scene.predict(kDecode, now);
  const std::vector<Tier> tiers = Scene::tiers_of(now);
  FeedbackInput input{.predicted = predicted,
                      .measured_s = predicted.seconds,
                      .tiers = tiers,
                      .profile = &profile,
                      .host_link_now = LinkFacts{.kind = "pcie", .generation = 4, .width = 16}};
  expect_said(compare(input), {"host link read 25.7 GB/s when the run began, 51.4 GB/s",
                               "pcie 4 x16 now and was pcie 5 x16"});
  input.host_link_now->generation = 5;
  expect_said(compare(input), {"other traffic on it"});
  EXPECT_EQ(all_of(compare(input)).find("a step took"), std::string::npos);
}

TEST(Feedback, FindsAKvCacheThatIsLongerThanPlanned) {
  const HardwareProfile h200 = hardware_named("h200");
  const Scene scene("llama-3.1-8b", h200, 0);
  const EntryForecast planned =
      scene.predict({.phase = Phase::kDecode, .batch = 8, .context = 1024}, h200);
  const EntryForecast was =
      scene.predict({.phase = Phase::kDecode, .batch = 8, .context = 65536}, h200);
  const std::vector<Tier> tiers = Scene::tiers_of(h200);
  const Feedback feedback = compare({.predicted = was,
                                     .measured_s = was.seconds,
                                     .planned = &planned,
                                     .tiers = tiers,
                                     .profile = &h200});
  expect_said(feedback, {"decode:batch=8,context=1k", "decode:batch=8,context=64k",
                         "a longer KV cache", "--workload"});
  EXPECT_EQ(feedback.differences.size(), 1u);
}

// On a real engine: names are the cost model's, and the sequences go on as if nothing had been.
TEST(OperationTimes, AreOfTheModelsOperationsAndLeaveTheSequencesAlone) {
  const ModelFiles files = open_model(fs::path(DAK_TEST_DATA) / "model/hf/llama3_gqa", true);
  const EngineOptions options{
      .threads = 2, .offload_ratio = 0.5, .context = 128, .sequences = 2, .synthetic_seed = 7};
  Engine engine(files, options, cpu_tiers(50e9));
  const auto tokens_after = [&](bool timed) {
    DecodeLoop loop(engine, 2, 64, 1);
    loop.run(3);
    if (timed) {
      const OperationTimes times = loop.time_operations(2);
      const Forecast forecast = forecast_of(files.config, options, engine.plan(),
                                            {{.phase = Phase::kDecode, .batch = 2, .context = 68}});
      double sum = 0;
      for (const OperationTimer::Seconds& one : times.operations) {
        const auto known =
            std::ranges::find(forecast.entries[0].kinds, one.name, &KindForecast::name);
        EXPECT_NE(known, forecast.entries[0].kinds.end()) << one.name;
        EXPECT_TRUE(one.name != "layers.*.qkv" || one.count == files.config.layers) << one.count;
        EXPECT_GT(one.seconds, 0) << one.name;
        sum += one.seconds;
      }
      for (const char* name : {"layers.*.attention", "layers.*.norms", "layers.*.down", "pass"}) {
        EXPECT_NE(std::ranges::find(times.operations, name, &OperationTimer::Seconds::name),
                  times.operations.end())
            << name;
      }
      EXPECT_NEAR(sum, times.total_s, 1e-9);
    }
    std::vector<TokenId> tokens;
    for (int i = 0; i < 4; ++i) {
      loop.run(1);
      tokens.insert(tokens.end(), loop.last_tokens().begin(), loop.last_tokens().end());
    }
    return tokens;
  };
  EXPECT_EQ(tokens_after(true), tokens_after(false));
}

TEST(Prefill, OfRandomTokensGivesItsPagesBack) {
  const ModelFiles files = open_model(fs::path(DAK_TEST_DATA) / "model/hf/llama3_gqa", true);
  const EngineOptions options{
      .threads = 2, .context = 128, .synthetic_seed = 7, .prefill_chunk = 32};
  Engine engine(files, options, cpu_tiers(50e9));
  for (int i = 0; i < 3; ++i) {  // the cache has room for one
    const PhaseStats stats = DecodeLoop::prefill(engine, 100, 1);
    EXPECT_EQ(stats.tokens, 100);
    EXPECT_EQ(stats.steps, 4);
    EXPECT_GT(stats.seconds, 0);
  }
  EXPECT_TRUE(test::throws_error(ErrorCode::kInvalidArgument,
                                 "prefill: tokens '128': is outside 1 to 127",
                                 [&] { DecodeLoop::prefill(engine, 128, 1); }));
}

// What `dak bench prefill` says that a pass must read, against what operations count: with all
// weights remote, in passes of 16 tokens. Besides, rows are looked up in the embedding.
TEST(Prefill, ReadsRemoteWeightsOnceAPassAndThoseOfTheLogitsOnce) {
  int tied = 0;
  for (const char* model : {"llama3_gqa", "qwen3", "opt", "smollm2"}) {
    const fs::path path = fs::path(DAK_TEST_DATA) / "model/hf" / model;
    const ModelFiles files = open_model(path, /*need_weights=*/false);
    tied += files.config.tied_embeddings ? 1 : 0;
    Engine engine(
        files,
        {.threads = 2, .offload_ratio = 1, .context = 64, .synthetic_seed = 1, .prefill_chunk = 16},
        cpu_tiers(50e9));
    const PhaseStats stats = DecodeLoop::prefill(engine, 60, 1);
    ASSERT_EQ(stats.steps, 4) << model;
    const int64_t weights = remote_weight_bytes(engine.program(), engine.plan(), stats.steps);
    const int64_t looked_up = stats.traffic.read_bytes[1] - weights;
    EXPECT_GE(looked_up, 0) << model;
    EXPECT_LE(looked_up, 2 * 60 * 4 * files.config.hidden) << model;  // and OPT's positions
  }
  EXPECT_GE(tied, 1);
}

}  // namespace
}  // namespace dak
