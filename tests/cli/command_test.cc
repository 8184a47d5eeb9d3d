// The commands on tiny models, as a user calls them.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "process.h"

namespace dak {
namespace {

using Json = nlohmann::json;

// The command on the CPU, wherever the test runs.
ProcessResult run_on_cpu(std::vector<std::string> arguments, const std::string& input = "") {
  arguments.insert(arguments.end(), {"--device", "cpu"});
  return run_dak(arguments, input);
}

Json json_on_cpu(std::vector<std::string> arguments) {
  arguments.insert(arguments.end(), {"--device", "cpu"});
  return json_of(arguments);
}

TEST(Command, VersionSaysHowItWasBuilt) {
  const ProcessResult result = run_dak({"--version"});
  EXPECT_EQ(result.status, 0);
  for (const char* fact : {"dak 0.", "compiler:", "backends: CPU ("}) {
    EXPECT_NE(result.out.find(fact), std::string::npos) << result.out;
  }
}

TEST(Command, HelpNamesEveryCommandAndFlag) {
  const ProcessResult result = run_dak({"--help"});
  EXPECT_EQ(result.status, 0);
  for (const char* command : {"run", "plan", "inspect", "serve"}) {
    EXPECT_NE(result.out.find(command), std::string::npos) << command;
  }
  EXPECT_NE(run_dak({"run", "--help"}).out.find("--local-budget"), std::string::npos);
}

TEST(Run, TextIsOnStdoutAndFiguresOnStderr) {
  const ProcessResult result = run_on_cpu(
      {"run", kGguf, "-p", "hello", "-n", "5", "--ignore-eos", "--offload-ratio", "0.5"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.out.find("tokens/s"), std::string::npos);
  for (const char* figure : {"prefill", "decode", "tokens/s", "local", "host", "% of the bound"}) {
    EXPECT_NE(result.err.find(figure), std::string::npos) << result.err;
  }
  EXPECT_EQ(result.err.find('\x1b'), std::string::npos) << "colours without a terminal";
}

TEST(Run, JsonHoldsWhatTheTextSays) {
  const Json json = json_on_cpu(
      {"run", kGguf, "-p", "hello", "-n", "5", "--ignore-eos", "--offload-ratio", "0.5", "--json"});
  EXPECT_EQ(json["tokens"].size(), 5u);
  EXPECT_EQ(json["finish_reason"], "max_tokens");
  EXPECT_GT(json["decode"]["bytes"]["host"], 0);
  EXPECT_GT(json["decode"]["bytes"]["local"], 0);
  EXPECT_GT(json["decode"]["percent_of_bound"], 0);
  EXPECT_EQ(json["decode"]["tokens"], 4);
  EXPECT_NEAR(json["offload_ratio"].get<double>(), 0.5, 0.1);
}

TEST(Run, RatioAndThreadsDoNotChangeTheAnswer) {
  Json first;
  for (const char* ratio : {"0", "0.3", "1"}) {
    for (const char* threads : {"1", "3"}) {
      const Json json = json_on_cpu({"run", kFolder, "-p", "hello", "-n", "16", "--ignore-eos",
                                     "--offload-ratio", ratio, "--threads", threads, "--json"});
      if (first.is_null()) first = json;
      EXPECT_EQ(json["tokens"], first["tokens"]);
    }
  }
}

// A seed is told where something was drawn.
TEST(Run, DrawsAsTheModelsFilesSayBelowFlags) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::path(testing::TempDir()) / "dak-sampling-defaults";
  fs::remove_all(folder);
  fs::copy(kFolder, folder);
  std::ofstream(folder / "generation_config.json")
      << R"({"eos_token_id": 2, "do_sample": true, "temperature": 0.7, "max_new_tokens": 3})";
  const auto run = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"run", folder.string(), "-p", "hi", "--ignore-eos", "--json"});
    return json_on_cpu(std::move(more));
  };
  const Json as_said = run({});
  EXPECT_TRUE(as_said.contains("seed"));
  EXPECT_EQ(as_said["tokens"].size(), 3u);
  const Json greedy = run({"--temperature", "0", "-n", "5"});
  EXPECT_FALSE(greedy.contains("seed"));
  EXPECT_EQ(greedy["tokens"].size(), 5u);
  const Json without = run({"--no-model-defaults", "-n", "5"});
  EXPECT_FALSE(without.contains("seed"));
  EXPECT_EQ(without["tokens"], greedy["tokens"]);
  fs::remove_all(folder);
}

TEST(Run, ReadsThePromptFromStdin) {
  const ProcessResult piped = run_on_cpu({"run", kGguf, "-n", "5", "--json"}, "hello");
  const ProcessResult given = run_on_cpu({"run", kGguf, "-p", "hello", "-n", "5", "--json"});
  EXPECT_EQ(piped.status, 0) << piped.err;
  EXPECT_EQ(Json::parse(piped.out)["tokens"], Json::parse(given.out)["tokens"]);
}

TEST(Run, TheLastNewlineOfAPipeIsNoPartOfThePrompt) {
  const auto tokens = [](const std::string& input, const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"run", kGguf, "-n", "2", "--ignore-eos", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProcessResult result = run_on_cpu(arguments, input);
    EXPECT_EQ(result.status, 0) << result.err;
    return Json::parse(result.out)["prompt_tokens"].get<int64_t>();
  };
  for (const std::vector<std::string>& how : {std::vector<std::string>{}, {"--raw"}}) {
    const int64_t plain = tokens("hi", how);
    EXPECT_EQ(tokens("hi\n", how), plain);
    EXPECT_EQ(tokens("hi\r\n", how), plain);
    EXPECT_GT(tokens("hi\n\n", how), plain);
    EXPECT_GT(tokens("hi\r", how), plain);
    EXPECT_GT(tokens("\nhi", how), plain);
  }
}

TEST(Run, ThreeTiersGiveTheSameTokens) {
  if (!std::filesystem::exists("/sys/devices/system/node/node0")) GTEST_SKIP() << "no NUMA node 0";
  const std::vector<std::string> base{"run", kGguf, "-p",           "hello",
                                      "-n",  "9",   "--ignore-eos", "--json"};
  const auto with = [&](std::vector<std::string> flags) {
    flags.insert(flags.begin(), base.begin(), base.end());
    return json_on_cpu(flags);
  };
  const Json three = with({"--tiers", "local,host=40KiB,host:0=1GiB", "--offload-ratio", "0.9"});
  EXPECT_EQ(three["tokens"], with({"--offload-ratio", "0"})["tokens"]);
  for (const char* tier : {"local", "host", "host:0"}) {
    EXPECT_GT(three["decode"]["bytes"][tier], 0) << tier;
  }
}

// A GPU if there is one, else the CPU: said in one line, and not among the results.
TEST(Run, TheDefaultDeviceSaysOnceWhatItIs) {
  const std::vector<std::string> arguments{"run", kFolder, "-p", "hello", "-n", "3", "--json"};
  const ProcessResult by_default = run_dak(arguments);
  EXPECT_EQ(by_default.status, 0) << by_default.err;
  EXPECT_EQ(by_default.err.rfind("dak: using ", 0), 0U) << by_default.err;
  EXPECT_EQ(std::ranges::count(by_default.err, '\n'), 1) << by_default.err;
  EXPECT_EQ(Json::parse(by_default.out)["tokens"].size(), 3U);
  EXPECT_EQ(run_on_cpu(arguments).err, "");
}

TEST(Run, SeedRepeats) {
  const std::vector<std::string> base{"run", kGguf,    "-p",           "hi",
                                      "-n",  "12",     "--ignore-eos", "--temperature",
                                      "1.2", "--json", "--seed"};
  const auto with_seed = [&base](const char* seed) {
    std::vector<std::string> arguments = base;
    arguments.emplace_back(seed);
    return json_on_cpu(arguments)["tokens"];
  };
  EXPECT_EQ(with_seed("1"), with_seed("1"));
  EXPECT_NE(with_seed("1"), with_seed("2"));
}

TEST(Plan, WorksFromAShippedConfig) {
  const std::string config = std::string(DAK_SOURCE_DIR) + "/configs/llama-3.1-70b";
  const Json json = json_on_cpu({"plan", config, "--hbm-budget", "80GiB", "--host-budget", "200GiB",
                                 "--synthetic", "--json"});
  EXPECT_EQ(json["model"], "llama-3.1-70b");
  EXPECT_NEAR(json["offload_ratio"].get<double>(), 0.42, 0.03);
}

TEST(Plan, KeepsTheBudgetAndSaysWhy) {
  const Json all = json_on_cpu({"plan", kFolder, "--context", "64", "--json"});
  const int64_t fixed = all["decode"]["smallest_local_budget_bytes"];
  const int64_t weights = all["weight_bytes"];
  const std::string budget = std::to_string(fixed + weights / 2) + "B";
  const Json json =
      json_on_cpu({"plan", kFolder, "--context", "64", "--local-budget", budget, "--json"});
  EXPECT_LE(json["tiers"][0]["bytes"].get<int64_t>(), fixed + weights / 2);
  EXPECT_EQ(json["tiers"][0]["weight_bytes"].get<int64_t>() +
                json["tiers"][1]["weight_bytes"].get<int64_t>(),
            weights);
  const ProcessResult text =
      run_on_cpu({"plan", kFolder, "--context", "64", "--local-budget", budget});
  EXPECT_NE(text.out.find("why: the local budget"), std::string::npos) << text.out;
  EXPECT_NE(text.out.find("layers.*.gate_up"), std::string::npos);
}

TEST(Plan, NeedsOnlyAConfig) {
  const Json alone = json_on_cpu({"plan", kFolder + "/config.json", "--json"});
  const Json folder = json_on_cpu({"plan", kFolder, "--json"});
  EXPECT_EQ(alone["weight_bytes"], folder["weight_bytes"]);
  EXPECT_EQ(alone["operands"].size(), folder["operands"].size());
}

// A machine that is not here: the budgets are taken as given, nothing is allocated.
TEST(Plan, AnswersWhatIfs) {
  const Json json = json_on_cpu({"plan", kFolder, "--context", "64", "--local-budget", "400GiB",
                                 "--host-budget", "1TiB", "--json"});
  EXPECT_EQ(json["tiers"][0]["capacity_bytes"].get<int64_t>(), int64_t{400} << 30);
  EXPECT_EQ(json["tiers"][1]["capacity_bytes"].get<int64_t>(), int64_t{1} << 40);
  const ProcessResult small =
      run_on_cpu({"plan", kFolder, "--offload-ratio", "0.9", "--host-budget", "20k"});
  EXPECT_EQ(small.status, 1);
  EXPECT_NE(small.err.find("--host-budget"), std::string::npos) << small.err;
}

TEST(Inspect, ListsTensorsOfBothFormats) {
  for (const std::string& model : {kGguf, kFolder}) {
    const Json json = Json::parse(run_dak({"inspect", model, "--json"}).out);
    EXPECT_EQ(json["family"], "llama");
    EXPECT_GT(json["tensors"].size(), 10u);
    EXPECT_GT(json["parameters"], 1000);
  }
  EXPECT_NE(run_dak({"inspect", kGguf}).out.find("q4_1"), std::string::npos);
}

}  // namespace
}  // namespace dak
