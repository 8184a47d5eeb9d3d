// `dak plan` and `dak probe`, as a user calls them.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "process.h"

namespace dak {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

const std::string kConfigs = std::string(DAK_SOURCE_DIR) + "/configs/";
const std::string k8b = kConfigs + "llama-3.1-8b";
const std::string kMix = "decode:batch=8,context=1k*0.3 + prefill:1k*0.7";

void expect_parts(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " not in:\n" << text;
  }
}

TEST(PlanCommand, AnswersForAMachineThatIsNotHere) {
  const ProcessResult result = run_dak({"plan", kConfigs + "llama-3.1-70b", "--hardware", "gh200"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.err, "");
  expect_parts(result.out,
               {"greedy placement", "layers.*.gate_up", "layers.*.attention", "waits for", "TPOT",
                "TTFT", "tokens/s", "% of the bound", "smallest that works", "longest context",
                "largest batch", "with 1 GiB more", "on gh200", "NVLink-C2C"});
}

// Three tiers: the links complement each other, so that a step's bound is all their bandwidths
// together where each holds its share.
TEST(PlanCommand, AnswersWithThreeTiers) {
  const std::vector<std::string> base{"plan",      kConfigs + "opt-30b", "--hardware",
                                      "h200-peer", "--context",          "512"};
  const auto with = [&](const std::string& tiers, const char* last) {
    std::vector<std::string> all = base;
    all.insert(all.end(), {"--tiers", tiers, last});
    return all;
  };
  const ProcessResult text =
      run_dak({"plan", kConfigs + "opt-30b", "--hardware", "h200-peer", "--context", "512",
               "--tiers", "host=100GiB,local=40GiB,peer=60GiB"});
  EXPECT_EQ(text.status, 0) << text.err;
  expect_parts(text.out, {"local", "peer", "host", "NVLink", "smallest that works"});
  const Json json = json_of(with("local=40GiB,peer=60GiB,host=100GiB", "--json"));
  ASSERT_EQ(json["tiers"].size(), 3u);
  EXPECT_EQ(json["tiers"][1]["name"], "peer");
  EXPECT_EQ(json["tiers"][1]["capacity_bytes"].get<int64_t>(), int64_t{60} << 30);
  EXPECT_EQ(json["tiers"][2]["name"], "host");
  EXPECT_LE(json["tiers"][0]["bytes"].get<int64_t>(), int64_t{40} << 30);
  const auto bytes = [&](int tier) { return json["tiers"][tier]["weight_bytes"].get<double>(); };
  // What leaves is shared as the links are fast: 377 to 51.4 GB/s.
  EXPECT_NEAR(bytes(2) / (bytes(1) + bytes(2)), 51.4 / (377 + 51.4), 0.03);
  // Without the host the same bytes take longer by what it had.
  const Json peer = json_of(with("local=40GiB,peer=60GiB", "--json"));
  const auto of_step = [](const Json& plan, const char* what) {
    return plan["forecast"]["entries"][0][what].get<double>();
  };
  EXPECT_NEAR(of_step(peer, "bound_s") / of_step(json, "bound_s"), (377 + 51.4) / 377, 0.01);
  EXPECT_GT(of_step(peer, "tpot_s"), 1.08 * of_step(json, "tpot_s"));
  // A small peer is filled, and the host takes the rest.
  const Json small = json_of(with("local=40GiB,peer=1GiB,host=100GiB", "--json"));
  EXPECT_LE(small["tiers"][1]["bytes"].get<int64_t>(), int64_t{1} << 30);
  EXPECT_GT(small["tiers"][1]["bytes"].get<int64_t>(), int64_t{1020} << 20);
  // The smallest budget counts the room of both.
  const auto least = small["what_if"]["smallest_local_budget_bytes"].get<int64_t>();
  const Json none =
      json_of(with("local=" + std::to_string(least) + "B,peer=1GiB,host=100GiB", "--json"));
  EXPECT_LE(none["tiers"][0]["bytes"].get<int64_t>(), least);
}

TEST(PlanCommand, AWrongTierIsNamed) {
  const auto refused = [](std::vector<std::string> flags) {
    flags.insert(flags.begin(), {"plan", k8b});
    const ProcessResult result = run_dak(flags);
    EXPECT_NE(result.status, 0);
    EXPECT_EQ(result.out, "");
    return result.err;
  };
  const std::vector<std::string> h200{"--hardware", "h200", "--tiers"};
  const auto on_h200 = [&](const std::vector<std::string>& flags) {
    std::vector<std::string> all = h200;
    all.insert(all.end(), flags.begin(), flags.end());
    return refused(all);
  };
  expect_parts(on_h200({"local,peer:1"}), {"--tiers", "peer:1", "local, host"});
  expect_parts(on_h200({"local=9GiB,host", "--local-budget", "8GiB"}), {"--local-budget"});
  expect_parts(on_h200({"local=9GiB,host", "--offload-ratio", "0.5"}), {"--offload-ratio"});
  expect_parts(on_h200({"local,host", "--host-budget", "8GiB"}), {"--host-budget"});
  expect_parts(on_h200({"local=9GiB,host=2GiB"}), {"--local-budget", "--tiers"});
}

TEST(PlanCommand, JsonHoldsWhatTheTextSays) {
  const Json json = json_of({"plan", k8b, "--hardware", "h100", "--hbm-budget", "14GiB",
                             "--workload", kMix, "--compare", "uniform,greedy", "--json"});
  EXPECT_EQ(json["policy"], "greedy");
  EXPECT_EQ(json["hardware"], "h100");
  EXPECT_EQ(json["workload"], "decode:batch=8,context=1k*0.3 + prefill:1k*0.7");
  EXPECT_LE(json["tiers"][0]["bytes"].get<int64_t>(), int64_t{14} << 30);
  const Json& entries = json["forecast"]["entries"];
  ASSERT_EQ(entries.size(), 2u);
  const auto tpot = entries[0]["tpot_s"].get<double>();
  const auto ttft = entries[1]["ttft_s"].get<double>();
  // The mix is of tokens: each entry's seconds a token, weighted.
  EXPECT_NEAR(1 / json["forecast"]["tokens_per_s"].get<double>(),
              0.3 * tpot / 8 + 0.7 * ttft / 1024, 1e-9);
  for (const Json& entry : entries) {
    double sum = 0;
    for (const Json& kind : entry["operations"]) sum += kind["seconds"].get<double>();
    const bool decode = entry["phase"] == "decode";
    EXPECT_NEAR(sum, decode ? tpot : ttft, 1e-9);
    EXPECT_LT(entry["bound_s"].get<double>(), decode ? tpot : ttft);
  }
  ASSERT_EQ(json["compared"].size(), 2u);
  const auto rate = [&](int i) {
    return json["compared"][i]["forecast"]["tokens_per_s"].get<double>();
  };
  EXPECT_EQ(json["compared"][0]["placement"], "uniform");
  EXPECT_GT(rate(1), 1.5 * rate(0));
  EXPECT_EQ(rate(1), json["forecast"]["tokens_per_s"]);
  EXPECT_GT(json["what_if"]["tokens_per_s_with_one_gib_more"].get<double>(), rate(1));
}

TEST(PlanCommand, WhatItSaysWouldFitFits) {
  const std::vector<std::string> base{"plan", k8b, "--hardware", "h100", "--json"};
  const auto with = [&](std::vector<std::string> flags) {
    flags.insert(flags.begin(), base.begin(), base.end());
    return flags;
  };
  const Json json = json_of(with({"--hbm-budget", "4GiB", "--context", "1024"}));
  const Json& what_if = json["what_if"];
  const std::string smallest =
      std::to_string(what_if["smallest_local_budget_bytes"].get<int64_t>()) + "B";
  const std::string less =
      std::to_string(what_if["smallest_local_budget_bytes"].get<int64_t>() - 1) + "B";
  EXPECT_EQ(run_dak(with({"--hbm-budget", smallest, "--context", "1024"})).status, 0);
  EXPECT_EQ(run_dak(with({"--hbm-budget", less, "--context", "1024"})).status, 1);
  const auto context = what_if["largest_context"].get<int64_t>();
  EXPECT_GT(context, 1024);
  EXPECT_EQ(run_dak(with({"--hbm-budget", "4GiB", "--context", std::to_string(context)})).status,
            0);
  EXPECT_EQ(
      run_dak(with({"--hbm-budget", "4GiB", "--context", std::to_string(context + 64)})).status, 1);
  const auto batch = what_if["largest_batch"].get<int64_t>();
  const auto decode = [](int64_t sequences) {
    return fmt::format("decode:batch={},context=1k", sequences);
  };
  EXPECT_EQ(run_dak(with({"--hbm-budget", "4GiB", "--workload", decode(batch)})).status, 0);
  EXPECT_EQ(run_dak(with({"--hbm-budget", "4GiB", "--workload", decode(batch + 1)})).status, 1);
}

TEST(PlanCommand, WithoutABudgetItFitsTheMachine) {
  const Json json = json_of({"plan", kConfigs + "llama-3.1-70b", "--hardware", "h100", "--json"});
  const auto capacity = json["tiers"][0]["capacity_bytes"].get<int64_t>();
  EXPECT_LE(json["tiers"][0]["bytes"].get<int64_t>(), capacity);
  EXPECT_GT(json["tiers"][0]["bytes"].get<int64_t>(), capacity - (int64_t{64} << 20));
  EXPECT_GT(json["offload_ratio"].get<double>(), 0.4);
  const Json small = json_of({"plan", k8b, "--hardware", "h100", "--json"});
  EXPECT_EQ(small["reason"], "everything fits the local budget of 79.0 GiB");
}

TEST(PlanCommand, AModelTooLargeForThisMachineNamesTheWayOut) {
  const ProcessResult result = run_dak({"plan", kConfigs + "llama-3.1-405b", "--device", "cpu",
                                        "--host-budget", "1GiB", "--local-budget", "1GiB"});
  EXPECT_EQ(result.status, 1);
  expect_parts(result.err, {"too small", "--hardware"});
}

TEST(PlanCommand, DrawsTokensAgainstTheBudget) {
  const TemporaryFolder folder;
  const fs::path svg = folder.path() / "plan.svg";
  const ProcessResult result =
      run_dak({"plan", k8b, "--hardware", "h100", "--hbm-budget", "14GiB", "--workload", kMix,
               "--compare", "greedy,uniform", "--svg", svg.string()});
  EXPECT_EQ(result.status, 0) << result.err;
  const std::string text = read_text_file(svg);
  EXPECT_EQ(text.rfind("<svg", 0), 0u);
  expect_parts(text, {"</svg>", "greedy", "uniform", "local budget, GiB", "tokens/s",
                      "llama-3.1-8b", "stroke-dasharray=\"4 3\""});
  EXPECT_EQ(text.find("nan"), std::string::npos);
  EXPECT_EQ(text.find("inf"), std::string::npos);
  size_t lines = 0;
  for (size_t at = text.find("<polyline"); at != std::string::npos;
       at = text.find("<polyline", at + 1)) {
    ++lines;
  }
  EXPECT_EQ(lines, 2u);
}

TEST(PlanCommand, AWhatIfOfTheCacheSaysWhereItIs) {
  const Json json =
      json_of({"plan", kConfigs + "llama-3.1-70b", "--hardware", "gh200", "--hbm-budget", "60GiB",
               "--workload", "decode:batch=64,context=8k", "--kv-anywhere", "--json"});
  EXPECT_EQ(json["fixed"]["kv_bytes"], 0);
  const auto is_cache = [](const Json& operand) { return operand["use"] == "kv"; };
  EXPECT_EQ(std::ranges::count_if(json["operands"], is_cache), 80);
}

// Apart from the user's own cache.
class ProbeCommand : public testing::Test {
 protected:
  ProbeCommand() { setenv("XDG_CACHE_HOME", folder_.path().c_str(), 1); }
  ~ProbeCommand() override { unsetenv("XDG_CACHE_HOME"); }
  TemporaryFolder folder_;
};

TEST_F(ProbeCommand, MeasuresTheCpuAndPlansUseIt) {
  const ProcessResult probed = run_dak({"probe", "--device", "cpu"});
  EXPECT_EQ(probed.status, 0) << probed.err;
  expect_parts(probed.out,
               {"kernels read", "GB/s", "TFLOP/s", "written: ", "measured by dak probe"});
  const fs::path folder = folder_.path() / "dak" / "hardware";
  ASSERT_EQ(std::distance(fs::directory_iterator(folder), fs::directory_iterator()), 1);
  const fs::path file = fs::directory_iterator(folder)->path();

  const std::vector<std::string> plan{"plan", k8b, "--device", "cpu", "--json"};
  EXPECT_NE(json_of(plan)["hardware"].get<std::string>().find(file.string()), std::string::npos);
  Json profile = Json::parse(read_text_file(file));
  EXPECT_GT(profile["peak_tflops"]["bf16"].get<double>(), 0.0001);
  EXPECT_GT(profile["tiers"][0]["idle_round_trip_us"].get<double>(), 0.01);

  // As a file it is a machine like any other.
  EXPECT_EQ(json_of({"plan", k8b, "--hardware", file.string(), "--json"})["hardware"],
            profile["name"]);

  // Another machine's: said, measured again and replaced.
  profile["processor"] = "An Abacus";
  std::ofstream(file) << profile.dump();
  const ProcessResult foreign = run_dak({"plan", k8b, "--device", "cpu", "--json"});
  EXPECT_EQ(foreign.status, 0);
  expect_parts(foreign.err, {file.string(), "An Abacus", "measuring again"});
  EXPECT_NE(Json::parse(foreign.out)["hardware"].get<std::string>().find(file.string()),
            std::string::npos);
  const ProcessResult again = run_dak({"plan", k8b, "--device", "cpu", "--json"});
  EXPECT_EQ(again.err, "");
}

TEST_F(ProbeCommand, ReplacesADamagedProfileAndSaysSo) {
  ASSERT_EQ(run_dak({"probe", "--device", "cpu"}).status, 0);
  const fs::path file = fs::directory_iterator(folder_.path() / "dak" / "hardware")->path();
  fs::resize_file(file, 100);
  const ProcessResult result = run_dak({"probe", "--device", "cpu"});
  EXPECT_EQ(result.status, 0);
  expect_parts(result.err, {file.string(), "replaced"});
  EXPECT_EQ(run_dak({"probe", "--device", "cpu"}).err, "");
}

TEST_F(ProbeCommand, SaysThatTheCpuHasNoHeatMap) {
  const fs::path svg = folder_.path() / "map.svg";
  const ProcessResult result = run_dak({"probe", "--device", "cpu", "--svg", svg.string()});
  EXPECT_EQ(result.status, 0);
  expect_parts(result.err, {"--svg", "GPU"});
  EXPECT_FALSE(fs::exists(svg));
}

TEST_F(ProbeCommand, WritesWhereItIsTold) {
  const fs::path file = folder_.path() / "machine.json";
  const Json printed =
      json_of({"probe", "--device", "cpu", "--threads", "1", "--json", "--output", file.string()});
  EXPECT_EQ(printed["sm_count"], 1);
  EXPECT_EQ(Json::parse(read_text_file(file)), printed);
  EXPECT_FALSE(fs::exists(folder_.path() / "dak"));
}

}  // namespace
}  // namespace dak
