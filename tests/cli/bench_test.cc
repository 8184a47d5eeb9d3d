// `dak bench decode` on tiny models, as a user calls it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <thread>

#include "process.h"

namespace dak {
namespace {

using Json = nlohmann::json;
using Arguments = std::vector<std::string>;

const std::string kConfig = kFolder + "/config.json";

// Few steps of little context, unless `more` says otherwise.
ProcessResult bench(const Arguments& more, const std::string& model = kGguf) {
  const std::vector<std::pair<std::string, std::string>> defaults{
      {"--device", "cpu"}, {"--threads", "2"}, {"--context", "16"},
      {"--steps", "3"},    {"--repeats", "2"}, {"--warmup", "1"}};
  Arguments arguments{"bench", "decode", model};
  for (const auto& [flag, value] : defaults) {
    if (std::ranges::find(more, flag) != more.end()) continue;
    arguments.insert(arguments.end(), {flag, value});
  }
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_dak(arguments);
}

Json bench_json(Arguments more) {
  more.insert(more.end(), {"--format", "json"});
  const ProcessResult result = bench(more);
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.err, "");
  return Json::parse(result.out);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::stringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST(Bench, ARowForEveryCombination) {
  const Json json = bench_json({"--batch", "1,3", "--ratio", "0,0.5,matched"});
  ASSERT_EQ(json["rows"].size(), 6u);
  std::set<std::pair<int, double>> seen;
  for (const Json& row : json["rows"]) {
    EXPECT_TRUE(row["skipped"].is_null()) << row;
    seen.emplace(row["batch"], row["ratio_asked"]);
    EXPECT_EQ(row["steps"], 6);
    EXPECT_EQ(row["past_tokens"], 16);
  }
  EXPECT_EQ(seen.size(), 4u) << "matched is 0.5 where both tiers are the same memory";
}

TEST(Bench, FiguresAgreeWithEachOther) {
  const Json json = bench_json({"--batch", "1,2", "--ratio", "0,0.5"});
  for (const Json& row : json["rows"]) {
    const double tpot_s = row["tpot_s"];
    EXPECT_GT(tpot_s, 0);
    EXPECT_LE(row["tpot_min_s"], tpot_s);
    EXPECT_GE(row["tpot_max_s"], tpot_s);
    EXPECT_GE(row["tpot_spread_percent"], 0);
    EXPECT_NEAR(row["tokens_per_s"].get<double>() * tpot_s, row["batch"].get<double>(), 1e-6);
    EXPECT_NEAR(row["gb_s_local"].get<double>() * tpot_s * 1e9, row["bytes_local"].get<double>(),
                1 + 1e-9 * row["bytes_local"].get<double>());
    EXPECT_GT(row["percent_of_bound"], 0);
    EXPECT_LT(row["percent_of_bound"], 1000);  // in the caches it may pass 100
    EXPECT_NEAR(row["percent_of_bound"].get<double>() * tpot_s, 100 * row["bound_s"].get<double>(),
                1e-9);
    EXPECT_GE(row["bytes_local"].get<int64_t>() + row["bytes_host"].get<int64_t>(),
              row["weight_bytes"].get<int64_t>());
    EXPECT_GT(row["kv_bytes_local"], 0);
    EXPECT_LT(row["kv_bytes_local"], row["bytes_local"]);
    EXPECT_EQ(row["kv_bytes_host"], 0);
    const bool offloaded = row["ratio_asked"] > 0;
    EXPECT_EQ(row["bytes_host"] > 0, offloaded);
    EXPECT_NEAR(row["offload_ratio"].get<double>(), row["ratio_asked"].get<double>(), 0.1);
    for (const char* gpu_only : {"power_w", "j_per_token", "window_bytes_host", "delay_us_host"}) {
      EXPECT_TRUE(row[gpu_only].is_null()) << gpu_only;
    }
  }
}

TEST(Bench, JsonHoldsTheFacts) {
  const Json json = bench_json({"--batch", "1", "--ratio", "0.5"});
  EXPECT_EQ(json["format"], "dak bench decode 1");
  EXPECT_EQ(json["command"].get<std::string>().rfind("dak bench decode ", 0), 0u);
  const Json& machine = json["machine"];
  EXPECT_EQ(machine["date_utc"].get<std::string>().size(), 20u);
  EXPECT_EQ(machine["device"], "cpu");
  EXPECT_TRUE(machine["gpu"].is_null());
  EXPECT_TRUE(machine.contains("kernels") && machine["kernels"].is_null());
  EXPECT_GT(machine["host_ram_bytes"], int64_t{1} << 28);
  ASSERT_EQ(machine["tiers"].size(), 2u);
  EXPECT_GT(machine["tiers"][1]["gb_s"], 0.1);
  EXPECT_FALSE(machine["dak_commit"].get<std::string>().empty());
  EXPECT_GT(json["model"]["weight_bytes"], 1000);
  EXPECT_EQ(json["settings"]["repeats"], 2);
}

TEST(Bench, PlainBenchIsDecode) {
  const ProcessResult result =
      run_dak({"bench", kGguf, "--device", "cpu", "--context", "8", "--steps", "2", "--repeats",
               "1", "--warmup", "0", "--batch", "1", "--ratio", "0", "--format", "json"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(Json::parse(result.out)["rows"].size(), 1u);
}

TEST(Bench, ACellThatDoesNotFitSaysWhyAndTheOthersRun) {
  const Json json = bench_json({"--batch", "1", "--hbm-budget", "1k,100m"});
  ASSERT_EQ(json["rows"].size(), 2u);
  EXPECT_NE(json["rows"][0]["skipped"].get<std::string>().find("budget"), std::string::npos);
  EXPECT_TRUE(json["rows"][0]["tpot_s"].is_null());
  EXPECT_EQ(json["rows"][0]["hbm_budget_bytes"], 1024);
  EXPECT_TRUE(json["rows"][1]["skipped"].is_null()) << json["rows"][1];
  EXPECT_LE(json["rows"][1]["hbm_used_bytes"], 100 << 20);
}

// The smaller batch runs although the larger one's cache exceeds the budget.
TEST(Bench, TheLargestBatchMayBeTooLarge) {
  const Json one = bench_json({"--batch", "1", "--ratio", "1"});
  const int64_t room = one["rows"][0]["hbm_used_bytes"].get<int64_t>() + 1000;
  const Json json = bench_json({"--batch", "1,64", "--hbm-budget", std::to_string(room) + "B"});
  ASSERT_EQ(json["rows"].size(), 2u);
  EXPECT_TRUE(json["rows"][0]["skipped"].is_null()) << json["rows"][0];
  EXPECT_TRUE(json["rows"][1]["skipped"].is_string()) << json["rows"][1];
}

TEST(Bench, AModeOrWindowThatCannotBeIsARow) {
  const Json json = bench_json({"--batch", "1", "--ratio", "0.5", "--mode", "direct,resident,uva",
                                "--window", "adaptive,64KiB"});
  ASSERT_EQ(json["rows"].size(), 6u);
  EXPECT_TRUE(json["rows"][0]["skipped"].is_null());
  for (const size_t i : {1, 2, 3, 4, 5}) EXPECT_TRUE(json["rows"][i]["skipped"].is_string()) << i;
  EXPECT_EQ(json["rows"][1]["window_asked_bytes"], 65536);
}

TEST(Bench, NothingMeasuredIsAFailure) {
  const ProcessResult result = bench({"--batch", "1", "--hbm-budget", "1k", "--format", "json"});
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(Json::parse(result.out)["rows"][0]["skipped"].is_string());
}

TEST(Bench, MarkdownIsATableOnStdout) {
  const ProcessResult result = bench({"--batch", "1,2", "--ratio", "0.5"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.err, "") << "no progress without a terminal";
  std::vector<std::string> table;
  for (const std::string& line : lines_of(result.out)) {
    if (line.rfind('|', 0) == 0) table.push_back(line);
  }
  ASSERT_EQ(table.size(), 4u) << result.out;
  for (const std::string& line : table) {
    EXPECT_EQ(std::ranges::count(line, '|'), std::ranges::count(table[0], '|')) << line;
  }
  EXPECT_NE(result.out.find("probed now: local"), std::string::npos);
  EXPECT_NE(table[0].find("% of bound"), std::string::npos);
}

TEST(Bench, CsvHasOneFieldForEachColumn) {
  const ProcessResult result = bench({"--batch", "1,2", "--ratio", "0.5", "--format", "csv"});
  ASSERT_EQ(result.status, 0) << result.err;
  const std::vector<std::string> lines = lines_of(result.out);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_NE(lines[0].find(",tpot_s,"), std::string::npos);
  // Quoted texts of this run hold no commas.
  for (const std::string& line : lines) {
    EXPECT_EQ(std::ranges::count(line, ','), std::ranges::count(lines[0], ',')) << line;
  }
}

TEST(Bench, OutputIsTheJsonAndNothingElseIsLeft) {
  const TemporaryFolder folder;
  const std::filesystem::path file = folder.path() / "out.json";
  const ProcessResult result = bench({"--batch", "1", "--ratio", "0", "--output", file.string()});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(Json::parse(std::ifstream(file))["rows"].size(), 1u);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(Bench, CtrlCEndsItAndLeavesNothing) {
  const TemporaryFolder folder;
  const std::string file = (folder.path() / "out.json").string();
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const int nowhere = open("/dev/null", O_WRONLY);
    dup2(nowhere, 1);
    dup2(nowhere, 2);
    execl(DAK_BINARY, DAK_BINARY, "bench", kGguf.c_str(), "--device", "cpu", "--context", "16",
          "--steps", "3", "--repeats", "1000000", "--output", file.c_str(), nullptr);
    _exit(127);
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  kill(child, SIGINT);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  // Killed by the signal itself if it came before the program was ready for it.
  EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 128 + SIGINT) << status;
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Bench, SyntheticWeightsNeedAConfigOnly) {
  const ProcessResult result =
      bench({"--batch", "1", "--ratio", "0.5", "--synthetic", "--format", "json"}, kConfig);
  ASSERT_EQ(result.status, 0) << result.err;
  const Json json = Json::parse(result.out);
  EXPECT_EQ(json["model"]["synthetic_seed"], 0);
  EXPECT_TRUE(json["rows"][0]["skipped"].is_null()) << json["rows"][0];
}

TEST(Bench, HelpNamesListsAndColumns) {
  for (const Arguments& arguments : {Arguments{"bench", "--help"}, {"bench", "decode", "--help"}}) {
    const ProcessResult result = run_dak(arguments);
    EXPECT_EQ(result.status, 0);
    for (const char* part : {"--batch", "--ratio", "--hbm-budget", "--mode", "--window", "matched",
                             "--synthetic", "--output", "docs/guide/bench.md"}) {
      EXPECT_NE(result.out.find(part), std::string::npos) << part;
    }
  }
}

struct BadFlag {
  const char* name;
  Arguments flags;
  std::vector<std::string> expected;
};

void PrintTo(const BadFlag& flag, std::ostream* out) { *out << flag.name; }

class BenchBadFlag : public testing::TestWithParam<BadFlag> {};

TEST_P(BenchBadFlag, IsOneLineAndLeavesNothing) {
  const ProcessResult result = bench(GetParam().flags);
  EXPECT_FALSE(result.hung);
  EXPECT_TRUE(result.status == 1 || result.status == 2) << "status " << result.status;
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err.rfind("dak: error: ", 0), 0u) << result.err;
  EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
  for (const std::string& part : GetParam().expected) {
    EXPECT_NE(result.err.find(part), std::string::npos) << part << " not in: " << result.err;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Table, BenchBadFlag,
    testing::ValuesIn(std::vector<BadFlag>{
        {"batch_zero", {"--batch", "0"}, {"--batch", "0"}},
        {"batch_text", {"--batch", "1,many"}, {"--batch", "many"}},
        {"batch_empty_entry", {"--batch", "1,,2"}, {"--batch", "1,,2"}},
        {"batch_twice", {"--batch", "1,2,1"}, {"--batch", "twice"}},
        {"ratio_above_one", {"--ratio", "0,1.5"}, {"--ratio", "1.5"}},
        {"ratio_nan", {"--ratio", "nan"}, {"--ratio", "nan"}},
        {"ratio_and_budget", {"--ratio", "0", "--hbm-budget", "1g"}, {"--ratio", "--hbm-budget"}},
        {"budget_text", {"--hbm-budget", "much"}, {"--hbm-budget", "much"}},
        {"mode_unknown", {"--mode", "direct,magic"}, {"--mode", "magic"}},
        {"window_text", {"--window", "wide"}, {"--window", "wide"}},
        {"window_zero", {"--window", "0"}, {"--window", "0"}},
        {"steps_zero", {"--steps", "0"}, {"--steps", "0"}},
        {"repeats_negative", {"--repeats", "-1"}, {"--repeats", "-1"}},
        {"warmup_negative", {"--warmup", "-1"}, {"--warmup", "-1"}},
        {"context_too_long", {"--context", "1000000"}, {"--context", "1000000"}},
        {"context_zero", {"--context", "0"}, {"--context", "0"}},
        {"steps_beyond_context", {"--steps", "100000"}, {"--steps", "100000"}},
        {"format_unknown", {"--format", "xml"}, {"--format", "xml"}},
        {"synthetic_text", {"--synthetic=seven"}, {"--synthetic", "seven"}},
        {"output_folder_missing", {"--output", "/no/such/folder/a.json"}, {"--output", "/no/such"}},
        {"device_unknown", {"--device", "tpu"}, {"--device", "tpu"}},
        {"kernels_unknown", {"--kernels", "fast"}, {"--kernels", "fast"}},
        {"kernels_on_the_cpu", {"--kernels", "tma"}, {"--kernels", "tma", "CPU"}},
        {"flag_unknown", {"--frobnicate"}, {"--frobnicate"}},
    }),
    [](const auto& test) { return std::string(test.param.name); });

TEST(Bench, NoModelIsOneLine) {
  const ProcessResult result = run_dak({"bench"});
  EXPECT_NE(result.status, 0);
  EXPECT_NE(result.err.find("MODEL"), std::string::npos) << result.err;
  EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
}

}  // namespace
}  // namespace dak
