// Predicted against measured, as a user sees it: `dak run`, `dak bench decode`, `dak bench
// workload`.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "process.h"

namespace dak {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const std::string kLlamaFolder = kModels + "hf/llama3_gqa";

// With a cache of its own.
class FeedbackCommand : public testing::Test {
 protected:
  FeedbackCommand() { setenv("XDG_CACHE_HOME", folder_.path().c_str(), 1); }
  ~FeedbackCommand() override { unsetenv("XDG_CACHE_HOME"); }

  // A profile of this machine, with small operations a thousand times as slow as any are.
  void inject_slow_profile() const {
    ASSERT_EQ(run_dak({"probe", "--device", "cpu"}).status, 0);
    const fs::path file = fs::directory_iterator(folder_.path() / "dak" / "hardware")->path();
    Json profile = Json::parse(std::ifstream(file));
    profile["cpu_costs"]["norm_us"] = 50'000;
    profile["cpu_costs"]["attention_fixed_us"] = 90'000;
    std::ofstream(file) << profile.dump();
  }

  TemporaryFolder folder_;
};

const std::vector<std::string> kRun{"run",       kGguf,   "--device",     "cpu", "-p",
                                    "hi there",  "--raw", "--max-tokens", "24",  "--json",
                                    "--context", "128",   "--ignore-eos"};

TEST_F(FeedbackCommand, ARunSaysHowItsStepsCompare) {
  const Json json = json_of(kRun);
  ASSERT_EQ(json["feedback"].size(), 2u) << json;  // the prompt, the steps
  const Json& prompt = json["feedback"][0];
  EXPECT_EQ(prompt["workload"].get<std::string>().rfind("prefill:", 0), 0u);
  const Json& steps = json["feedback"][1];
  EXPECT_EQ(steps["workload"].get<std::string>().rfind("decode:batch=1,context=", 0), 0u);
  EXPECT_GT(steps["predicted_s"], 0);
  EXPECT_NEAR(steps["measured_s"].get<double>(),
              json["decode"]["seconds"].get<double>() / json["decode"]["steps"].get<double>(),
              1e-9);
  double sum = 0;
  for (const Json& one : steps["operations"]) sum += one["measured_s"].get<double>();
  EXPECT_NEAR(sum, steps["measured_s"].get<double>(), 1e-9);
}

TEST_F(FeedbackCommand, AWrongProfileIsFoundOut) {
  inject_slow_profile();
  const Json steps = json_of(kRun)["feedback"][1];
  EXPECT_LT(steps["difference_percent"], -50);
  std::string said;
  for (const Json& difference : steps["differences"]) said += difference.get<std::string>() + "\n";
  for (const char* part : {"a step took", "layers.*.norms", "layers.*.attention", "dak probe"}) {
    EXPECT_NE(said.find(part), std::string::npos) << part << "\n" << said;
  }
  std::vector<std::string> plain = kRun;
  std::erase(plain, "--json");
  const ProcessResult result = run_dak(plain);
  EXPECT_NE(result.err.find("layers.*.norms"), std::string::npos) << result.err;
}

TEST_F(FeedbackCommand, ABenchmarkHasItForEveryCellAndSaysItOnce) {
  inject_slow_profile();
  const std::vector<std::string> bench{"bench",   "decode",  kGguf,     "--device",  "cpu",
                                       "--batch", "1,2",     "--ratio", "0.5",       "--context",
                                       "16",      "--steps", "3",       "--repeats", "2"};
  std::vector<std::string> as_json = bench;
  as_json.insert(as_json.end(), {"--format", "json"});
  const Json json = json_of(as_json);
  for (const Json& row : json["rows"]) {
    EXPECT_EQ(row["predicted_tpot_s"], row["feedback"]["predicted_s"]);
    EXPECT_EQ(row["tpot_s"], row["feedback"]["measured_s"]);
    EXPECT_FALSE(row["feedback"]["differences"].empty());
    EXPECT_FALSE(row["feedback"]["operations"].empty());
  }
  const ProcessResult table = run_dak(bench);
  EXPECT_NE(table.out.find("predicted ms"), std::string::npos);
  const std::string said = "2 of 2 predictions differ from what was measured by more than 10 %";
  const size_t at = table.out.find(said);
  ASSERT_NE(at, std::string::npos) << table.out;
  EXPECT_EQ(table.out.find(said, at + 1), std::string::npos) << table.out;
  const std::string line = table.out.substr(at);
  EXPECT_EQ(std::ranges::count(line, '\n'), 1) << "the last line of all";
  for (const char* part : {"direct, batch ", " % remote (-", "a step took", "--output FILE"}) {
    EXPECT_NE(line.find(part), std::string::npos) << part << "\n" << line;
  }
}

TEST_F(FeedbackCommand, AWorkloadsTableSaysItOnceToo) {
  inject_slow_profile();
  const ProcessResult table =
      run_dak({"bench", "workload", kGguf, "--device", "cpu", "--steps", "2", "--repeats", "1",
               "--placement", "uniform", "--workload", "decode:batch=1,context=16 + prefill:16"});
  EXPECT_NE(table.out.find("2 of 2 predictions differ"), std::string::npos) << table.out;
  EXPECT_NE(table.out.find("uniform, "), std::string::npos) << table.out;
}

TEST_F(FeedbackCommand, AShortPlanIsSaidToBeShort) {
  std::vector<std::string> run = kRun;
  run.insert(run.end(), {"--workload", "decode:context=2"});
  EXPECT_EQ(run_dak(run).status, 0);
  run.back() = "decode:context=none";
  const ProcessResult wrong = run_dak(run);
  EXPECT_NE(wrong.status, 0);
  EXPECT_NE(wrong.err.find("--workload"), std::string::npos) << wrong.err;
}

TEST_F(FeedbackCommand, AWorkloadIsMeasuredEntryByEntry) {
  const fs::path file = folder_.path() / "out.json";
  const std::vector<std::string> arguments{
      "bench",        "workload", kLlamaFolder, "--synthetic",
      "--device",     "cpu",      "--steps",    "4",
      "--repeats",    "2",        "--workload", "decode:batch=2,context=64*0.25 + prefill:48*0.75",
      "--hbm-budget", "1k,64MiB", "--json",     "--output",
      file.string()};
  const Json json = json_of(arguments);
  EXPECT_EQ(Json::parse(std::ifstream(file)), json);
  EXPECT_EQ(json["format"], "dak bench workload 1");
  ASSERT_EQ(json["rows"].size(), 4u);
  for (const size_t i : {0, 1}) {
    EXPECT_NE(json["rows"][i]["skipped"].get<std::string>().find("too small"), std::string::npos);
  }
  EXPECT_EQ(json["rows"][2]["placement"], "uniform");
  EXPECT_EQ(json["rows"][3]["placement"], "greedy");
  for (const size_t i : {2, 3}) {
    const Json& row = json["rows"][i];
    ASSERT_EQ(row["entries"].size(), 2u);
    // The mean time of a token is that of its entry, by share.
    double seconds = 0;
    for (const Json& entry : row["entries"]) {
      const bool decode = entry["workload"].get<std::string>().rfind("decode", 0) == 0;
      seconds +=
          entry["share"].get<double>() * entry["measured_s"].get<double>() / (decode ? 2 : 48);
      EXPECT_GT(entry["predicted_s"], 0);
    }
    EXPECT_NEAR(row["tokens_per_s"].get<double>() * seconds, 1, 1e-9);
  }
}

}  // namespace
}  // namespace dak
