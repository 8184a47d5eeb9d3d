// Predictions against what was measured on an H200: bench/results.
#include "engine/forecast.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json.h"
#include "hardware/presets.h"

namespace dak {
namespace {

namespace fs = std::filesystem;

const fs::path kRoot = DAK_SOURCE_DIR;
constexpr double kGiga = 1e9;

std::vector<Json> results_named(const std::string& part) {
  std::vector<Json> results;
  for (const auto& entry : fs::directory_iterator(kRoot / "bench/results")) {
    const std::string name = entry.path().filename().string();
    if (name.find(part) == std::string::npos) continue;
    results.push_back(parse_json(read_text_file(entry.path()), name));
    results.back()["file"] = name;
  }
  return results;
}

TierKind kind_of(const std::string& kind) {
  if (kind == "peer") return TierKind::kPeer;
  return kind == "host" ? TierKind::kHost : TierKind::kLocal;
}

// As the machine was probed in that run, with room for anything.
std::vector<Tier> tiers_of(const Json& document) {
  std::vector<Tier> tiers;
  for (const Json& tier : document["machine"]["tiers"]) {
    tiers.push_back({.name = tier["name"],
                     .kind = kind_of(tier["kind"]),
                     .capacity_bytes = int64_t{1} << 50,
                     .read_bytes_per_s = tier["gb_s"].get<double>() * kGiga,
                     .channel = tier["channel"]});
  }
  return tiers;
}

// The plan of a measured row, on the machine as it was probed in that run.
Forecast forecast_row(const Json& document, const Json& row) {
  ModelFiles files =
      open_model(kRoot / "configs" / document["model"]["name"].get<std::string>(), false);
  files.config.layers = document["model"]["layers"].get<int64_t>();
  const Json& settings = document["settings"];
  const auto past = settings["past_tokens"].get<int64_t>();
  EngineOptions options{.device = {.backend = Backend::kCuda},
                        .offload_ratio = row["offload_ratio"].get<double>(),
                        .kv_ratio = row.value("kv_ratio", 0.0),
                        .context = past + settings["steps"].get<int64_t>(),
                        .sequences = row["batch"].get<int64_t>(),
                        .hardware = hardware_named("h200")};
  const Plan plan = plan_model(files, options, tiers_of(document));
  return forecast_of(files.config, options, plan,
                     {{.phase = Phase::kDecode, .batch = options.sequences, .context = past + 1}});
}

// Whether a cell ran in mode direct with a window that adapts.
bool is_usual(const Json& row) {
  return row["skipped"].is_null() && row["mode"] == "direct" && row["window_asked_bytes"].is_null();
}

TEST(Forecast, IsWithinTenPercentOfEveryMeasuredDecodeStep) {
  std::map<std::string, int> configurations;  // by remote tiers
  double worst = 0;
  for (const Json& document : results_named("_decode_")) {
    const size_t tiers = document["machine"]["tiers"].size();
    for (const Json& row : document["rows"]) {
      if (!is_usual(row)) continue;
      const Forecast forecast = forecast_row(document, row);
      const EntryForecast& step = forecast.entries.at(0);
      const auto measured = row["tpot_s"].get<double>();
      const double error = step.seconds / measured - 1;
      EXPECT_LT(std::abs(error), 0.10)
          << document["file"] << " batch " << row["batch"] << " ratio " << row["offload_ratio"]
          << ": " << step.seconds << " s for " << measured;
      worst = std::max(worst, std::abs(error));
      const auto kind = document["machine"]["tiers"].back()["kind"].get<std::string>();
      ++configurations[tiers > 2 ? "three tiers" : kind];
      // The bound is the benchmark's: its bytes are counted, these are planned.
      EXPECT_NEAR(step.bound_s, row["bound_s"].get<double>(), 0.01 * step.bound_s);
      // Two links share remote bytes so that both take equally long: either may be named.
      if (tiers == 2) {
        EXPECT_EQ(step.bound_by, row["bound_by"]);
      }
      EXPECT_LE(step.bound_s, step.seconds);
    }
  }
  EXPECT_GE(configurations["host"], 60);
  EXPECT_GE(configurations["peer"], 27);
  EXPECT_GE(configurations["three tiers"], 8);
  RecordProperty("worst_percent", static_cast<int>(100 * worst));
}

// Steps of up to 512 sequences. Left out: attention over remote rows of a page or two before
// 2026-11-24, which read the link at 32 GB/s (docs/design/decisions/036-short-remote-rows.md). Over
// a peer products of 512 rows are predicted too long, by 15 to 49 %: their share of the peak is fit
// to whole prompts, and they reach more.
TEST(Forecast, IsWithinTwelvePercentOfStepsOfManySequences) {
  int configurations = 0;
  for (const Json& document : results_named("_many_")) {
    const bool peer = document["file"].get<std::string>().find("h200-peer") != std::string::npos;
    const bool slow_rows = document["machine"]["date_utc"].get<std::string>() < "2026-11-24";
    if (document["settings"]["placement"] == "greedy") continue;
    for (const Json& row : document["rows"]) {
      if (!is_usual(row) || !row["hbm_budget_bytes"].is_null()) continue;
      const bool short_remote_rows = row.value("kv_ratio", 0.0) > 0 &&
                                     document["settings"]["past_tokens"].get<int64_t>() < 1024;
      if (slow_rows && short_remote_rows) continue;
      const EntryForecast step = forecast_row(document, row).entries.at(0);
      const auto measured = row["tpot_s"].get<double>();
      EXPECT_LT(std::abs(step.seconds / measured - 1), peer ? 0.13 : 0.12)
          << document["file"] << " batch " << row["batch"] << " ratio " << row["offload_ratio"]
          << ": " << step.seconds << " s for " << measured;
      ++configurations;
    }
  }
  EXPECT_GE(configurations, 24);
}

// Prompts (TTFT) and steps (TPOT) under plans by budget, uniform and greedy, some of models cut to
// their first layers. And greedy was never the slower one.
TEST(Forecast, IsWithinTenPercentOfEveryMeasuredWorkload) {
  int configurations = 0;
  for (const Json& document : results_named("_workload_")) {
    ModelFiles files =
        open_model(kRoot / "configs" / document["model"]["name"].get<std::string>(), false);
    files.config.layers = document["model"]["layers"].get<int64_t>();
    const Workload workload =
        parse_workload(document["workload"].get<std::string>(), "bench/results");
    const auto steps = document["settings"]["steps"].get<int64_t>();
    const bool slices = document["file"].get<std::string>().find("_slices") != std::string::npos;
    std::map<int64_t, double> uniform;  // tokens/s by budget
    for (const Json& row : document["rows"]) {
      if (!row["skipped"].is_null()) continue;
      const auto budget = row["hbm_budget_bytes"].get<int64_t>();
      EngineOptions options{
          .device = {.backend = Backend::kCuda},
          .local_budget_bytes = budget,
          .context = most_tokens(workload) + steps,
          .sequences = most_sequences(workload),
          .placement = parse_placement_policy(row["placement"].get<std::string>(), "bench/results"),
          .workload = workload,
          .hardware = hardware_named("h200")};
      Plan plan = plan_model(files, options, tiers_of(document));
      // As much was remote, whatever the backend takes of a budget by now.
      const double more = plan.offload_ratio() - row["offload_ratio"].get<double>();
      *options.local_budget_bytes +=
          static_cast<int64_t>(more * static_cast<double>(plan.weight_bytes()));
      plan = plan_model(files, options, tiers_of(document));
      EXPECT_NEAR(plan.offload_ratio(), row["offload_ratio"].get<double>(), 0.001);
      const Forecast forecast = forecast_of(files.config, options, plan, workload);
      for (size_t i = 0; i < forecast.entries.size(); ++i) {
        const EntryForecast& entry = forecast.entries[i];
        // Prompts went in slices of 64 rows then.
        if (slices && entry.entry.phase == Phase::kPrefill) continue;
        const auto measured = row["entries"][i]["measured_s"].get<double>();
        EXPECT_LT(std::abs(entry.seconds / measured - 1), 0.10)
            << document["model"] << row["placement"] << budget << ", " << entry.entry.text() << ": "
            << entry.seconds << " s for " << measured;
        ++configurations;
      }
      const auto rate = row["tokens_per_s"].get<double>();
      if (row["placement"] == "uniform") uniform[budget] = rate;
      if (row["placement"] == "greedy") {
        EXPECT_GE(rate, uniform.at(budget));
      }
    }
  }
  EXPECT_GE(configurations, 14);
}

// Products alone: what limits them, and by how much the cost model is off. Within steps, which its
// constants are for, small ones take longer than alone.
TEST(Forecast, KnowsProductsAsTheyWereMeasured) {
  const fs::path path = kRoot / "bench/results/2026-11-23_h200-host_split_matmul.json";
  const Json document = parse_json(read_text_file(path), path.string());
  std::vector<Tier> tiers = hardware_named("h200").plan_tiers();
  tiers[0].read_bytes_per_s = document["local_gb_s"].get<double>() * kGiga;
  tiers[1].read_bytes_per_s = document["remote_gb_s"].get<double>() * kGiga;
  const Machine machine = machine_of(hardware_named("h200"), tiers, DType::kBF16);
  std::vector<double> errors;
  for (const Json& row : document["matmul"]) {
    if (row["batch"].get<int64_t>() > 32) continue;  // of larger ones: docs/design/placement.md
    TierBytes bytes{row["local_bytes"].get<int64_t>(), row["remote_bytes"].get<int64_t>()};
    const Operation product{.kind = OperationKind::kMatmul,
                            .operand = 0,
                            .size_bytes = bytes[0] + bytes[1],
                            .rows = row["rows"].get<int64_t>(),
                            .cols = row["cols"].get<int64_t>()};
    const auto batch = row["batch"].get<int64_t>();
    const OperationTime time = time_of(
        cost_of(product, {.rows = batch, .sequences = batch, .logit_rows = batch}, machine), bytes);
    const double error = std::abs(time.seconds * 1e6 / row["us_in_graph"].get<double>() - 1);
    errors.push_back(error);
    const bool far_from_matched = bytes[1] == 0 || row["ratio"].get<double>() > 0.04;
    EXPECT_LT(error, far_from_matched ? 0.15 : 0.25) << row;
    EXPECT_TRUE(row["ratio"].get<double>() < 0.1 || error < 0.01) << row;
  }
  std::ranges::sort(errors);
  EXPECT_LT(errors.at(errors.size() / 2), 0.01);
}

}  // namespace
}  // namespace dak
