#include "cli/bench_flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "base/choice.h"
#include "base/error.h"
#include "base/numbers.h"
#include "base/units.h"
#include "cli/flags.h"

namespace dak {
namespace {

constexpr int64_t kMostBatch = 4096;
constexpr int64_t kMostSteps = 1'000'000;

void check_count(std::string_view flag, int64_t value, int64_t least) {
  if (value >= least && value <= kMostSteps) return;
  throw_invalid(flag, {}, std::to_string(value),
                fmt::format("is outside {} to {}", least, kMostSteps));
}

// A cell that comes twice would be measured twice and look like two.
template <typename Value>
void add_once(std::vector<Value>& values, Value value, std::string_view flag,
              std::string_view text) {
  if (std::ranges::find(values, value) != values.end()) {
    throw_invalid(flag, {}, text, "is in the list twice");
  }
  values.push_back(std::move(value));
}

}  // namespace

std::vector<BenchPlacement> parse_placements(std::string_view ratios, std::string_view budgets) {
  std::vector<BenchPlacement> placements;
  if (!budgets.empty()) {
    for (const std::string& text : parse_list(budgets, "--hbm-budget")) {
      placements.push_back({.budget_bytes = parse_bytes(text, "--hbm-budget")});
    }
    return placements;
  }
  for (const std::string& text : parse_list(ratios, "--ratio")) {
    if (text == "matched") {
      placements.push_back({.matched = true});
      continue;
    }
    const double ratio = parse_real(text, "--ratio");
    if (ratio < 0 || ratio > 1) {
      throw_invalid("--ratio", {}, text, "is not a number from 0 to 1", "or use the word matched");
    }
    placements.push_back({.ratio = ratio});
  }
  return placements;
}

std::vector<std::string> parse_list(std::string_view text, std::string_view flag) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    parts.emplace_back(text.substr(begin, end - begin));
    if (parts.back().empty()) {
      throw_invalid(flag, {}, text, "has an empty entry", "write values with commas: 1,8,32");
    }
    begin = end + 1;
  }
  return parts;
}

void BenchFlags::add_to(CLI::App& app) {
  app.add_option("MODEL", model, "Model folder, .gguf or, with --synthetic, config.json");
  app.option_defaults()->group("What is measured (lists: every combination is a cell)");
  app.add_option("--batch", batches, "Sequences side by side (default: 1,8,32)");
  auto* ratio = app.add_option("--ratio", ratios,
                               fmt::format("Shares of the weights in remote tiers, 0 to 1 or "
                                           "matched: remote / all bandwidth (default: {})",
                                           kDefaultRatios));
  app.add_option("--hbm-budget,--local-budget", budgets,
                 "Budgets of the local tier instead of ratios, e.g. 40GiB,60GiB")
      ->type_name(kSizeList)
      ->excludes(ratio);
  app.add_option("--mode", modes,
                 "How remote weights are read: direct, prefetch, uva, resident (default: direct)");
  app.add_option("--placement", placement.policy,
                 "uniform or greedy (default: greedy for budgets, uniform for ratios)");
  app.add_option("--window", windows,
                 "Bytes of remote reads in flight, fixed, e.g. adaptive,256KiB,2MiB (default: "
                 "adaptive); mode direct on a GPU with kernels tma only")
      ->type_name(kSizeList);
  as_tokens(app.add_option(
      "--context", past_tokens,
      fmt::format("Past tokens of each sequence, e.g. 8k (default: {})", kDefaultPast)));
  app.add_option("--dtype", placement.dtype,
                 "Type to hold weights in: f32, f16, bf16 (default: as stored)");
  app.add_option("--kv-ratio", placement.kv_ratio,
                 "Share of the KV cache in host memory, 0 to 1 (default: 0); resident keeps it all "
                 "local");
  app.add_option("--kv-dtype", placement.kv_dtype, "Type of the KV cache (default: the weights')");
  app.add_flag("--synthetic{0}", placement.synthetic_seed,
               "Random weights, --synthetic=SEED for others: needs a config.json only");

  app.option_defaults()->group("How it is measured");
  app.add_option("--steps", steps, "Decode steps of one repeat (default: 20)");
  app.add_option("--repeats", repeats, "Repeats; all their steps count (default: 5)");
  app.add_option("--warmup", warmup_steps, "Steps before that do not count (default: 10)");
  app.add_option("--device", placement.device, "auto (default), cpu, cuda or cuda:N");
  placement.add_kernels_to(app);
  placement.add_tiers_to(app, /*local_size=*/false);
  app.add_option("--threads", placement.threads, "CPU threads (default: all)");

  app.option_defaults()->group("Options");
  app.add_option("--format", format, "On standard output: md, csv or json (default: md)");
  app.add_option("--output", output, "Write the JSON to this file as well");
  app.footer(
      "Each row: step time (median, spread), tokens/s, bytes and GB/s by tier, EB (weight bytes /\n"
      "TPOT), the bound and per cent of it, the link's window and delay, power, J/token.\n"
      "docs/guide/bench.md says how each is computed. A cell that cannot run says why.\n\n"
      "Examples:\n"
      "  dak bench model.gguf --device cuda --batch 1,8 --ratio 0,matched,0.2\n"
      "  dak bench decode configs/opt-30b --synthetic --device cuda --hbm-budget 40GiB \\\n"
      "      --mode direct,prefetch,uva --output opt-30b.json");
}

DecodeBench BenchFlags::bench() const {
  DecodeBench bench;
  if (model.empty()) throw_invalid("dak bench", "MODEL", {}, "is missing", "see dak bench --help");
  bench.model = model;
  for (const std::string& text : parse_list(batches, "--batch")) {
    const int64_t batch = parse_whole(text, "--batch");
    if (batch < 1 || batch > kMostBatch) {
      throw_invalid("--batch", {}, text, fmt::format("is not a number from 1 to {}", kMostBatch));
    }
    add_once(bench.batches, batch, "--batch", text);
  }
  bench.placements = parse_placements(ratios.empty() ? kDefaultRatios : ratios, budgets);
  for (const std::string& text : parse_list(modes, "--mode")) {
    add_once(bench.modes, parse_access_mode(text, "--mode"), "--mode", text);
  }
  for (const std::string& text : parse_list(windows, "--window")) {
    std::optional<int64_t> window;
    if (text != "adaptive") window = parse_bytes(text, "--window");
    if (window == 0) throw_invalid("--window", {}, text, "reads nothing", "or use adaptive");
    add_once(bench.windows, window, "--window", text);
  }
  if (past_tokens != -1) bench.past_tokens = past_tokens;
  check_count("--steps", steps, 1);
  check_count("--repeats", repeats, 1);
  check_count("--warmup", warmup_steps, 0);
  bench.steps = steps;
  bench.repeats = repeats;
  bench.warmup_steps = warmup_steps;
  output_format();
  bench.engine = placement.options();
  return bench;
}

BenchFormat BenchFlags::output_format() const { return parse_bench_format(format); }

BenchFormat parse_bench_format(std::string_view text) {
  if (text == "md") return BenchFormat::kMarkdown;
  if (text == "csv") return BenchFormat::kCsv;
  if (text == "json") return BenchFormat::kJson;
  throw_unknown("--format", text, "is not a format", {"md", "csv", "json"});
}

}  // namespace dak
