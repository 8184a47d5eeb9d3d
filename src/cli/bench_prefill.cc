#include "cli/bench_prefill.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/numbers.h"
#include "base/units.h"
#include "cli/bench_facts.h"
#include "cli/bench_flags.h"
#include "cli/bench_rows.h"
#include "cli/feedback_report.h"
#include "cli/flags.h"
#include "cli/model_argument.h"
#include "cli/output.h"
#include "engine/decode_loop.h"
#include "engine/forecast.h"
#include "plan/pass_bytes.h"

namespace dak {
namespace {

constexpr int64_t kMostTokens = 1'000'000;

int64_t tokens_of_pass(std::string_view text, std::string_view flag) {
  const int64_t tokens = parse_tokens(text, flag);
  if (tokens >= 1 && tokens <= kMostTokens) return tokens;
  throw_invalid(flag, {}, text, fmt::format("is not a number from 1 to {}", kMostTokens));
}

struct Measured {
  PhaseStats stats;          // of the median run
  int64_t linked_bytes = 0;  // by one run, as the kernels counted them; -1: not counted
};

int64_t linked_bytes(const Engine& engine) {
  if (engine.cuda() == nullptr) return -1;
  int64_t bytes = 0;
  for (size_t tier = 1; tier < engine.plan().tiers.size(); ++tier) {
    bytes += link_status(*engine.cuda(), static_cast<TierIndex>(tier)).read_bytes;
  }
  return bytes;
}

Measured measure(Engine& engine, int64_t tokens, int64_t repeats, const std::atomic<bool>& cancel) {
  constexpr uint64_t kSeed = 1;
  DecodeLoop::prefill(engine, std::min<int64_t>(tokens, 128), kSeed);  // schedules, clocks
  std::vector<PhaseStats> runs;
  const int64_t before = linked_bytes(engine);
  for (int64_t i = 0; i < repeats; ++i) {
    if (cancel) throw Interrupted();
    runs.push_back(DecodeLoop::prefill(engine, tokens, kSeed));
  }
  const int64_t read = before < 0 ? -1 : (linked_bytes(engine) - before) / repeats;
  std::ranges::sort(runs, {}, &PhaseStats::seconds);
  return {runs[runs.size() / 2], read};
}

OrderedRow row_of(const Engine& engine, const EngineOptions& options, int64_t tokens,
                  const Measured& measured) {
  const Plan& plan = engine.plan();
  const Workload workload{{.phase = Phase::kPrefill, .tokens = tokens}};
  const EntryForecast forecast =
      forecast_of(engine.config(), options, plan, workload).entries.at(0);
  const double seconds = measured.stats.seconds;
  OrderedRow row;
  row["mode"] = name(options.mode);
  row["prompt_tokens"] = tokens;
  row["offload_ratio"] = plan.offload_ratio();
  row["hbm_used_bytes"] = plan.bytes_in(0);
  row["chunk"] = plan.fixed.prefill_chunk;
  row["passes"] = measured.stats.steps;
  row["ttft_s"] = seconds;
  row["tokens_per_s"] = static_cast<double>(tokens) / seconds;
  for (size_t i = 0; i < plan.tiers.size(); ++i) {
    row[field_of("bytes", plan.tiers[i])] = measured.stats.traffic.read_bytes[i];
  }
  row["bound_s"] = forecast.bound_s;
  row["bound_by"] = forecast.bound_by;
  row["percent_of_bound"] = 100 * forecast.bound_s / seconds;
  row["predicted_s"] = nullptr;
  if (not_modelled(options).empty()) row["predicted_s"] = forecast.seconds;
  // By kernels: what a copy engine reads is not counted.
  const bool counted = options.mode == AccessMode::kDirect;
  const int64_t needed =
      counted ? remote_weight_bytes(engine.program(), plan, measured.stats.steps) : 0;
  row["link_bytes"] = nullptr;
  row["read_amplification"] = nullptr;
  if (measured.linked_bytes >= 0 && needed > 0) {
    row["link_bytes"] = measured.linked_bytes;
    row["read_amplification"] =
        static_cast<double>(measured.linked_bytes) / static_cast<double>(needed);
  }
  return row;
}

void print_row(const OrderedRow& row, bool first) {
  if (first) {
    print_out(
        "| mode | prompt | remote % | passes | TTFT ms | tokens/s | bound ms | % of bound | "
        "bound by | link reads of a byte, per pass |\n|{}\n",
        " --- |" + fmt::format("{:-<9}|{:-<10}|{:-<8}|{:-<9}|{:-<10}|{:-<10}|{:-<12}|{:-<10}|"
                               "{:-<12}|",
                               "", "", "", "", "", "", "", "", ""));
  }
  print_out("| {} | {} | {:.2f} | {} | {:.1f} | {:.0f} | {:.1f} | {:.1f} | {} | {} |\n",
            row["mode"].get<std::string>(), row["prompt_tokens"].get<int64_t>(),
            100 * row["offload_ratio"].get<double>(), row["passes"].get<int64_t>(),
            1e3 * row["ttft_s"].get<double>(), row["tokens_per_s"].get<double>(),
            1e3 * row["bound_s"].get<double>(), row["percent_of_bound"].get<double>(),
            row["bound_by"].get<std::string>(),
            row["read_amplification"].is_null()
                ? "-"
                : fmt::format("{:.3f}", row["read_amplification"].get<double>()));
  flush_output();
}

}  // namespace

void PrefillFlags::add_to(CLI::App& app) {
  app.add_option("MODEL", model, "Model folder, .gguf or, with --synthetic, config.json");
  app.option_defaults()->group("What is measured (lists: every combination is a cell)");
  app.add_option("--prompt", prompts, "Tokens of the prompt (default: 512,2k,8k)")
      ->type_name(kTokensList);
  auto* ratio = app.add_option("--ratio", ratios,
                               "Shares of the weights in remote tiers, 0 to 1 or matched (default: "
                               "0,0.2,0.5)");
  app.add_option("--hbm-budget,--local-budget", budgets, "Budgets of the local tier instead")
      ->type_name(kSizeList)
      ->excludes(ratio);
  app.add_option("--chunk", chunks,
                 "Most tokens in one pass, or auto: the plan's choice (default: auto)")
      ->type_name(kTokensList);
  app.add_option("--mode", placement.mode,
                 "How remote weights are read: direct (default), prefetch, uva, resident");
  app.add_option("--dtype", placement.dtype,
                 "Type to hold weights in: f32, f16, bf16 (default: as stored)");
  app.add_flag("--synthetic{0}", placement.synthetic_seed,
               "Random weights, --synthetic=SEED for others: needs a config.json only");
  app.option_defaults()->group("How it is measured");
  app.add_option("--repeats", repeats, "Runs of each cell; the median counts (default: 3)");
  app.add_option("--device", placement.device, "auto (default), cpu, cuda or cuda:N");
  placement.add_kernels_to(app);
  placement.add_tiers_to(app, /*local_size=*/false);
  app.add_option("--threads", placement.threads, "CPU threads (default: all)");
  app.option_defaults()->group("Options");
  app.add_option("--output", output, "Write JSON to this file");
  app.footer(
      "Each row: time to the first token (median), tokens/s, the bound max(bytes / bandwidth,\n"
      "FLOPs / peak) and per cent of it, and how often a remote byte crossed its link in a pass.\n"
      "The peak is known once dak probe has run; without it the bound is of bytes alone.");
}

int run_prefill_bench(const PrefillFlags& flags, const std::atomic<bool>& cancel) {
  if (flags.model.empty()) {
    throw_invalid("dak bench prefill", "MODEL", {}, "is missing", "see dak bench prefill --help");
  }
  if (flags.repeats < 1) {
    throw_invalid("--repeats", {}, std::to_string(flags.repeats), "must be positive");
  }
  if (!flags.output.empty()) check_writable(flags.output, kOutputFix);
  std::vector<int64_t> prompts;
  for (const std::string& text : parse_list(flags.prompts, "--prompt")) {
    prompts.push_back(tokens_of_pass(text, "--prompt"));
  }
  std::vector<int64_t> chunks;
  for (const std::string& text : parse_list(flags.chunks, "--chunk")) {
    chunks.push_back(text == "auto" ? 0 : tokens_of_pass(text, "--chunk"));
  }
  const std::vector<BenchPlacement> placements = parse_placements(flags.ratios, flags.budgets);
  EngineOptions options = flags.placement.options();
  options.context = *std::ranges::max_element(prompts) + 1;
  const ModelFiles files = open_model_argument(flags.model, !options.synthetic_seed);
  const std::vector<Tier> tiers = probe_tiers(options);
  add_known_hardware(options, tiers);
  OrderedRow document{{"format", "dak bench prefill 1"}};
  document["command"] = command_line();
  document["machine"] = machine_facts(options.device, tiers, nvml_of(options.device));
  document["model"] = files.config.name;
  document["rows"] = nlohmann::ordered_json::array();
  for (const BenchPlacement& placement : placements) {
    for (const int64_t chunk : chunks) {
      if (cancel) throw Interrupted();
      options.offload_ratio = placement.matched ? matched_ratio(tiers) : placement.ratio;
      options.local_budget_bytes = placement.budget_bytes;
      options.prefill_chunk = chunk;
      Engine engine(files, options, tiers);
      for (const int64_t tokens : prompts) {
        const Measured measured = measure(engine, tokens, flags.repeats, cancel);
        document["rows"].push_back(row_of(engine, options, tokens, measured));
        print_row(document["rows"].back(), document["rows"].size() == 1);
      }
    }
  }
  if (flags.output.empty()) return 0;
  write_text_file(flags.output, document.dump(1) + "\n", kOutputFix);
  return 0;
}

}  // namespace dak
