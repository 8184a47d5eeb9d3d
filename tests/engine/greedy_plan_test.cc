// Greedy placement of real models on real machines' numbers.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <random>

#include "base/error.h"
#include "engine/forecast.h"
#include "engine/model_costs.h"
#include "hardware/presets.h"
#include "support/throws_error.h"

namespace dak {
namespace {

const std::string kConfigs = std::string(DAK_SOURCE_DIR) + "/configs/";

const ModelFiles& model(const std::string& name) {
  static std::map<std::string, ModelFiles> opened;
  const auto found = opened.find(name);
  if (found != opened.end()) return found->second;
  return opened.emplace(name, open_model(kConfigs + name, /*need_weights=*/false)).first->second;
}

EngineOptions options_for(std::string_view preset, std::string_view workload) {
  EngineOptions options{.device = {.backend = Backend::kCuda}};
  options.workload = parse_workload(workload, "test");
  options.context = most_tokens(options.workload);
  options.sequences = most_sequences(options.workload);
  options.hardware = hardware_named(preset);
  return options;
}

double tokens_per_s(const ModelFiles& files, EngineOptions options, std::vector<Tier> tiers,
                    PlacementPolicy policy) {
  options.placement = policy;
  const Plan plan = plan_model(files, options, std::move(tiers));
  EXPECT_TRUE(!options.local_budget_bytes || plan.bytes_in(0) <= *options.local_budget_bytes);
  for (size_t t = 1; t < plan.tiers.size(); ++t) {
    EXPECT_LE(plan.bytes_in(static_cast<TierIndex>(t)), plan.tiers[t].capacity_bytes);
  }
  return forecast_of(files.config, options, plan, options.workload).tokens_per_s;
}

constexpr const char* kWorkloads[] = {
    "decode:batch=1,context=500",
    "decode:batch=8,context=2k",
    "decode:batch=32,context=1k",
    "decode:batch=200,context=200",
    "prefill:1k",
    "decode:batch=8,context=1k*0.8 + prefill:1k*0.2",
    "decode:batch=32,context=500*0.3 + prefill:2000*0.5 + decode*0.2",
};

// Of blocks the last may be dearer than what it is part of: a thousandth of the whole.
constexpr double kRounding = 1e-3;

TEST(GreedyPlan, IsNeverSlowerThanUniformInTheModel) {
  std::mt19937 random(1);
  int planned = 0;
  int faster = 0;
  for (const char* name : {"opt-6.7b", "opt-30b", "llama-3.1-8b", "llama-3.1-70b"}) {
    for (const PresetText& preset : preset_texts()) {
      for (const char* workload : kWorkloads) {
        EngineOptions options = options_for(preset.name, workload);
        std::vector<Tier> tiers = options.hardware->plan_tiers();
        for (Tier& tier : tiers) tier.capacity_bytes = int64_t{1} << 40;
        const Plan all = plan_model(model(name), options, tiers);
        for (int i = 0; i < 3; ++i) {
          const double share = std::uniform_real_distribution(0.02, 1.0)(random);
          options.local_budget_bytes =
              all.fixed.total_bytes() +
              static_cast<int64_t>(share * static_cast<double>(all.weight_bytes()));
          const double uniform =
              tokens_per_s(model(name), options, tiers, PlacementPolicy::kUniform);
          const double greedy = tokens_per_s(model(name), options, tiers, PlacementPolicy::kGreedy);
          EXPECT_GE(greedy, uniform * (1 - kRounding))
              << name << " on " << preset.name << ", " << workload << ", share " << share;
          ++planned;
          faster += greedy > 1.3 * uniform ? 1 : 0;
        }
      }
    }
  }
  EXPECT_GT(planned, 500);
  EXPECT_GT(faster, 10);
}

// What is made least is the part of the forecast that placement can change.
TEST(GreedyPlan, MinimisesWhatIsForecast) {
  EngineOptions options =
      options_for("h100", "decode:batch=1,context=1k*0.3 + prefill:100k*0.5 + prefill:1k*0.2");
  options.local_budget_bytes = int64_t{20} << 30;
  const ModelFiles& files = model("llama-3.1-8b");
  const Plan plan = plan_model(files, options, options.hardware->plan_tiers());
  const Forecast forecast = forecast_of(files.config, options, plan, options.workload);
  double seconds_per_token = 0;
  for (const EntryForecast& entry : forecast.entries) {
    for (const KindForecast& kind : entry.kinds) {
      const bool placed = std::ranges::any_of(plan.operands, [&](const OperandPlan& operand) {
        return operand.operand.kind == kind.name;
      });
      const double tokens = static_cast<double>(
          entry.entry.phase == Phase::kDecode ? entry.entry.batch : entry.entry.tokens);
      if (placed) seconds_per_token += entry.entry.share * kind.seconds / tokens;
    }
  }
  std::vector<Operand> operands;
  PlacementProblem problem;
  std::vector<TierBlocks> blocks;
  for (const OperandPlan& entry : plan.operands) {
    operands.push_back(entry.operand);
    problem.items.push_back(
        {.blocks = entry.operand.blocks(), .block_bytes = entry.operand.block_bytes()});
    blocks.emplace_back();
    for (const TierSpan& span : entry.spans) blocks.back()[span.tier] += span.blocks;
  }
  const auto costs =
      operand_costs(operations_of(program_of(files.config), operands, DType::kBF16, plan.fixed),
                    operands.size(), options.workload, plan.fixed.prefill_chunk,
                    machine_of(*options.hardware, plan.tiers, DType::kBF16));
  for (size_t i = 0; i < costs.size(); ++i) problem.items[i].terms = costs[i];
  EXPECT_NEAR(cost_of_placement(problem, blocks), seconds_per_token, 1e-6 * seconds_per_token);
}

TEST(GreedyPlan, GainsWhereOperationsWaitForDifferentThings) {
  // A GPU without TMA, whose kernels read a weight again for every 64 rows.
  const EngineOptions mixed = [] {
    EngineOptions options = options_for("a100", "decode:batch=8,context=1k*0.3 + prefill:1k*0.7");
    options.local_budget_bytes = int64_t{14} << 30;
    return options;
  }();
  const std::vector<Tier> tiers = mixed.hardware->plan_tiers();
  EXPECT_GT(tokens_per_s(model("llama-3.1-8b"), mixed, tiers, PlacementPolicy::kGreedy),
            1.5 * tokens_per_s(model("llama-3.1-8b"), mixed, tiers, PlacementPolicy::kUniform));
  // What is read once a prompt leaves first, what is read for every 64 rows last.
  const Plan plan = plan_model(model("llama-3.1-8b"), mixed, tiers);
  EXPECT_EQ(plan.policy, "greedy");
  EXPECT_EQ(plan.operand("embedding").offload_ratio(), 1);
  EXPECT_GT(plan.operand("lm_head").offload_ratio(), 0.9);
  EXPECT_LT(plan.operand("layers.5.down").offload_ratio(), 0.05);
}

TEST(GreedyPlan, TakesLessThan50MsForA405bModel) {
  EngineOptions options = options_for("gh200", "decode:batch=16,context=8k*0.8 + prefill:2k*0.2");
  options.local_budget_bytes = int64_t{80} << 30;
  std::vector<Tier> tiers = options.hardware->plan_tiers();
  tiers[1].capacity_bytes = int64_t{1} << 40;
  const ModelFiles& files = model("llama-3.1-405b");
  double least = 1;
  for (int i = 0; i < 5; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const Plan plan = plan_model(files, options, tiers);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    least = std::min(least, elapsed.count());
    EXPECT_EQ(plan.policy, "greedy");
    EXPECT_GT(plan.offload_ratio(), 0.8);
  }
  EXPECT_LT(least, 0.05);
}

TEST(GreedyPlan, SeveralLinksTakeLittleLonger) {
  EngineOptions options = options_for("h200-peer", "decode:batch=8,context=2k");
  options.local_budget_bytes = int64_t{60} << 30;
  std::vector<Tier> tiers = options.hardware->plan_tiers();
  tiers[1].capacity_bytes = int64_t{50} << 30;
  const auto start = std::chrono::steady_clock::now();
  const Plan plan = plan_model(model("llama-3.1-70b"), options, tiers);
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  EXPECT_LT(elapsed.count(), 0.25);
  EXPECT_LE(plan.bytes_in(0), *options.local_budget_bytes);
  EXPECT_LE(plan.bytes_in(1), tiers[1].capacity_bytes);
  EXPECT_GT(plan.bytes_in(1), tiers[1].capacity_bytes * 98 / 100);  // the faster link, first
  EXPECT_GT(plan.bytes_in(2), 0);
}

TEST(GreedyPlan, OnTheCpuEveryPlaceIsAsGoodAndSharesAreEven) {
  EngineOptions options{.context = 64, .dtype = DType::kBF16};
  options.local_budget_bytes = int64_t{8} << 30;
  const Plan plan = plan_model(model("opt-6.7b"), options, cpu_tiers(50e9));
  EXPECT_EQ(plan.policy, "greedy");
  for (const OperandPlan& entry : plan.operands) {
    if (entry.operand.use == OperandUse::kLookup) continue;
    EXPECT_NEAR(entry.offload_ratio(), plan.offload_ratio(), 0.02) << entry.operand.name;
  }
}

TEST(GreedyPlan, TheCacheIsPlannedWithTheWeightsInAWhatIf) {
  EngineOptions options = options_for("gh200", "decode:batch=64,context=8k");
  options.local_budget_bytes = int64_t{60} << 30;
  const std::vector<Tier> tiers = options.hardware->plan_tiers();
  EXPECT_TRUE(test::throws_error(
      ErrorCode::kResourceExhausted, {"--local-budget", "KV cache for"},
      [&] { plan_model(model("llama-3.1-70b"), options, tiers); }));  // 160 GiB of cache
  options.kv_anywhere = true;
  const Plan plan = plan_model(model("llama-3.1-70b"), options, tiers);
  EXPECT_EQ(plan.fixed.kv_bytes, 0);
  EXPECT_LE(plan.bytes_in(0), *options.local_budget_bytes);
  EXPECT_GT(plan.operand("layers.0.kv").offload_ratio(), 0.5);
  const Forecast forecast =
      forecast_of(model("llama-3.1-70b").config, options, plan, options.workload);
  EXPECT_EQ(forecast.entries[0].bound_by, "NVLink-C2C");
}

TEST(GreedyPlan, AGivenRatioIsUniformUnlessAskedOtherwise) {
  EngineOptions options = options_for("a100", "prefill:1k");
  options.offload_ratio = 0.2;
  const std::vector<Tier> tiers = options.hardware->plan_tiers();
  EXPECT_EQ(plan_model(model("llama-3.1-8b"), options, tiers).policy, "uniform");
  options.placement = PlacementPolicy::kGreedy;
  const Plan plan = plan_model(model("llama-3.1-8b"), options, tiers);
  EXPECT_EQ(plan.policy, "greedy");
  EXPECT_NEAR(plan.offload_ratio(), 0.2, 0.001);
  EXPECT_GT(plan.operand("lm_head").offload_ratio(), 0.9);
}

TEST(GreedyPlan, OtherModesPlaceInTheirOwnWay) {
  EngineOptions options = options_for("h100", "decode:batch=1,context=500");
  options.mode = AccessMode::kPrefetch;
  options.local_budget_bytes = int64_t{10} << 30;
  const std::vector<Tier> tiers = options.hardware->plan_tiers();
  EXPECT_EQ(plan_model(model("llama-3.1-8b"), options, tiers).policy, "uniform");
  options.placement = PlacementPolicy::kGreedy;
  EXPECT_TRUE(test::throws_error(ErrorCode::kInvalidArgument, {"--placement", "prefetch"},
                                 [&] { plan_model(model("llama-3.1-8b"), options, tiers); }));
}

TEST(GreedyPlan, TooSmallBudgetsNameTheSmallestAndThatWorks) {
  EngineOptions options = options_for("h100", "decode:batch=1,context=500");
  std::vector<Tier> tiers = options.hardware->plan_tiers();
  options.local_budget_bytes = 1000;
  const auto message = [&] {
    try {
      plan_model(model("llama-3.1-8b"), options, tiers);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kResourceExhausted);
      return std::string(error.what());
    }
    return std::string();
  };
  const auto named = [](const std::string& text) {
    constexpr std::string_view kBefore = "at least --local-budget ";
    const size_t at = text.find(kBefore);
    return at == std::string::npos ? int64_t{0} : std::stoll(text.substr(at + kBefore.size()));
  };
  const int64_t smallest = named(message());
  options.local_budget_bytes = smallest;
  EXPECT_EQ(message(), "");
  options.local_budget_bytes = smallest - 1;
  EXPECT_EQ(named(message()), smallest);
  // The host holds a part alone.
  tiers[1].capacity_bytes = int64_t{4} << 30;
  options.local_budget_bytes = int64_t{8} << 30;
  const int64_t with_little_host = named(message());
  EXPECT_GT(with_little_host, int64_t{11} << 30);
  options.local_budget_bytes = with_little_host;
  EXPECT_EQ(message(), "");
}

}  // namespace
}  // namespace dak
