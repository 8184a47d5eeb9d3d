#include "cli/bench_workload.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <csignal>

#include "base/error.h"
#include "base/file.h"
#include "base/units.h"
#include "cli/bench_facts.h"
#include "cli/bench_flags.h"
#include "cli/bench_stats.h"
#include "cli/feedback_report.h"
#include "cli/flags.h"
#include "cli/model_argument.h"
#include "cli/options.h"
#include "cli/output.h"
#include "engine/decode_loop.h"
#include "engine/forecast.h"

namespace dak {
namespace {

constexpr uint64_t kSeed = 1;
constexpr double kMilli = 1e3;

class WorkloadRun {
 public:
  WorkloadRun(const ModelFiles& files, const WorkloadBench& bench, const std::vector<Tier>& tiers,
              const BenchHooks& hooks)
      : files_(files), bench_(bench), tiers_(tiers), hooks_(hooks) {}

  OrderedRow row(const std::optional<int64_t>& budget, PlacementPolicy policy, size_t done) {
    EngineOptions options = bench_.engine;
    options.local_budget_bytes = budget;
    options.placement = policy;
    options.workload = bench_.workload;
    OrderedRow row{{"placement", name(policy)},
                   {"hbm_budget_bytes", budget ? OrderedRow(*budget) : OrderedRow(nullptr)},
                   {"skipped", nullptr}};
    announce(fmt::format("{}, {}", name(policy), budget ? format_bytes(*budget) : "all"), done);
    try {
      const Plan plan = plan_model(files_, options, tiers_);
      check_memory(plan, options.device);
      Engine engine(files_, options, tiers_, [this](const Progress& progress) {
        check_cancel();
        if (hooks_.on_load) hooks_.on_load(progress);
      });
      fill(row, engine, options);
    } catch (const Error& error) {
      const bool here =
          error.code() == ErrorCode::kResourceExhausted || error.code() == ErrorCode::kUnsupported;
      if (!here) throw;
      row["skipped"] = error.what();
    }
    return row;
  }

 private:
  void check_cancel() const {
    if (hooks_.cancel != nullptr && *hooks_.cancel) throw Interrupted();
  }
  void announce(const std::string& what, size_t done) const {
    check_cancel();
    if (hooks_.on_cell) hooks_.on_cell(what, done);
  }

  void fill(OrderedRow& row, Engine& engine, const EngineOptions& options) const {
    const Forecast forecast = forecast_of(files_.config, options, engine.plan(), bench_.workload);
    row["offload_ratio"] = engine.plan().offload_ratio();
    row["hbm_used_bytes"] = engine.plan().bytes_in(0);
    double measured_per_token = 0;
    for (const EntryForecast& predicted : forecast.entries) {
      const WorkloadEntry& entry = predicted.entry;
      const Summary seconds =
          entry.phase == Phase::kPrefill ? prompts(engine, entry) : decode_steps(engine, entry);
      const int64_t tokens = entry.phase == Phase::kDecode ? entry.batch : entry.tokens;
      measured_per_token += entry.share * seconds.median / static_cast<double>(tokens);
      row["entries"].push_back({{"workload", entry.text()},
                                {"share", entry.share},
                                {"measured_s", seconds.median},
                                {"spread_percent", seconds.spread_percent},
                                {"predicted_s", predicted.seconds},
                                {"error_percent", 100 * (predicted.seconds / seconds.median - 1)},
                                {"bound_s", predicted.bound_s},
                                {"bound_by", predicted.bound_by},
                                {"feedback", feedback(engine, options, entry, seconds.median)}});
    }
    row["tokens_per_s"] = 1 / measured_per_token;
    row["predicted_tokens_per_s"] = forecast.tokens_per_s;
    row["load_s"] = engine.load_seconds();
  }

  OrderedRow feedback(Engine& engine, const EngineOptions& options, const WorkloadEntry& entry,
                      double seconds) const {
    if (!not_modelled(options).empty()) return nullptr;
    const OperationTimes times = entry.phase == Phase::kPrefill
                                     ? DecodeLoop::time_prefill(engine, entry.tokens, kSeed)
                                     : DecodeLoop(engine, entry.batch, entry.context - 1, kSeed)
                                           .time_operations(timed_steps(seconds));
    return feedback_json(
        feedback_on(files_.config, options, engine.plan(), entry, seconds, &times));
  }

  // From an empty cache to the logits of the last token.
  Summary prompts(Engine& engine, const WorkloadEntry& entry) const {
    std::vector<double> seconds;
    for (int64_t i = 0; i <= bench_.repeats; ++i) {
      check_cancel();
      const double took = DecodeLoop::prefill(engine, entry.tokens, kSeed).seconds;
      if (i > 0) seconds.push_back(took);  // the first one warms up
    }
    return summarise(std::move(seconds));
  }

  Summary decode_steps(Engine& engine, const WorkloadEntry& entry) const {
    DecodeLoop loop(engine, entry.batch, entry.context - 1 - first_steps(), kSeed);
    std::vector<double> seconds;
    for (int64_t i = 0; i <= bench_.repeats; ++i) {
      check_cancel();
      loop.rewind();
      const std::vector<double> steps = loop.run(bench_.steps).step_seconds;
      if (i > 0) seconds.insert(seconds.end(), steps.begin(), steps.end());
    }
    return summarise(std::move(seconds));
  }

  // The middle one of a run's steps has the context that was asked for.
  int64_t first_steps() const { return bench_.steps / 2; }

  const ModelFiles& files_;
  const WorkloadBench& bench_;
  const std::vector<Tier>& tiers_;
  const BenchHooks& hooks_;
};

std::string table_row(const OrderedRow& row) {
  const OrderedRow& budget = row["hbm_budget_bytes"];
  std::string line = fmt::format("| {:<8} | {:>9} |", row["placement"].get<std::string>(),
                                 budget.is_null() ? "-" : format_bytes(budget.get<int64_t>()));
  if (!row["skipped"].is_null()) return line + " " + row["skipped"].get<std::string>() + " |\n";
  line +=
      fmt::format(" {:>8.2f} | {:>9.1f} | {:>9.1f} |", 100 * row["offload_ratio"].get<double>(),
                  row["tokens_per_s"].get<double>(), row["predicted_tokens_per_s"].get<double>());
  for (const OrderedRow& entry : row["entries"]) {
    line += fmt::format(
        " {}: {:.2f} ms, predicted {:.2f} ({:+.1f} %) |", entry["workload"].get<std::string>(),
        entry["measured_s"].get<double>() * kMilli, entry["predicted_s"].get<double>() * kMilli,
        entry["error_percent"].get<double>());
  }
  return line + "\n";
}

// Under the table, whether predictions held.
void print_misfit(const OrderedRow& rows) {
  std::vector<Compared> all;
  for (const OrderedRow& row : rows) {
    if (!row["skipped"].is_null()) continue;
    for (const OrderedRow& entry : row["entries"]) {
      all.push_back({fmt::format("{}, {}", row["placement"].get<std::string>(),
                                 entry["workload"].get<std::string>()),
                     entry["feedback"]});
    }
  }
  if (const std::string line = misfit_line(all); !line.empty()) print_out("\n{}\n", line);
}

struct BenchWorkloadFlags {
  std::string model;
  std::string workload;
  std::string output;
  int64_t steps = 20;
  int64_t repeats = 3;
  bool json = false;
  PlacementFlags placement;

  WorkloadBench bench() const;
};

int64_t checked(std::string_view flag, int64_t value) {
  constexpr int64_t kMost = 100'000;
  if (value >= 1 && value <= kMost) return value;
  throw_invalid(flag, {}, std::to_string(value), fmt::format("is outside 1 to {}", kMost));
}

WorkloadBench BenchWorkloadFlags::bench() const {
  WorkloadBench bench{.model = model, .steps = checked("--steps", steps)};
  bench.repeats = checked("--repeats", repeats);
  if (workload.empty()) {
    throw_invalid("--workload", {}, {}, "is missing",
                  "for example decode:batch=8,context=1k*0.8 + prefill:1k*0.2");
  }
  bench.workload = parse_workload(workload, "--workload");
  PlacementFlags shared = placement;  // with the lists taken out
  for (const std::string& text :
       parse_list(shared.policy.empty() ? "uniform,greedy" : shared.policy, "--placement")) {
    bench.policies.push_back(parse_placement_policy(text, "--placement"));
  }
  if (shared.local_budget.empty()) bench.budgets.emplace_back();
  for (const std::string& text : shared.local_budget.empty()
                                     ? std::vector<std::string>{}
                                     : parse_list(shared.local_budget, "--hbm-budget")) {
    bench.budgets.emplace_back(parse_bytes(text, "--hbm-budget"));
  }
  shared.policy.clear();
  shared.local_budget.clear();
  bench.engine = shared.options();
  bench.engine.sequences = most_sequences(bench.workload);
  std::optional<int64_t> chunk;
  for (const WorkloadEntry& entry : bench.workload) {
    const bool decode = entry.phase == Phase::kDecode;
    if (entry.chunk && chunk && *entry.chunk != *chunk) {
      throw_invalid("--workload", "chunk", std::to_string(*entry.chunk),
                    fmt::format("differs from the {} of another prompt", *chunk),
                    "measure one at a time: an engine has one");
    }
    if (entry.chunk) chunk = bench.engine.prefill_chunk = *entry.chunk;
    if (decode && entry.context - 1 - bench.steps / 2 < 1) {
      throw_invalid("--workload", "context", std::to_string(entry.context),
                    fmt::format("is too short for {} steps", bench.steps), "use fewer --steps");
    }
    bench.engine.context =
        std::max(bench.engine.context, decode ? entry.context + bench.steps : entry.tokens + 1);
  }
  return bench;
}

int run(const BenchWorkloadFlags& flags) {
  WorkloadBench bench = flags.bench();
  const ModelFiles files = open_model_argument(bench.model, !bench.engine.synthetic_seed);
  if (!flags.output.empty()) check_writable(flags.output, kOutputFix);
  const InterruptGuard interrupt;
  const std::vector<Tier> tiers = probe_tiers(bench.engine);
  add_known_hardware(bench.engine, tiers);
  OrderedRow document{{"format", "dak bench workload 1"}};
  document["command"] = command_line();
  document["machine"] = machine_facts(bench.engine.device, tiers, nvml_of(bench.engine.device));
  document["hardware"] = bench.engine.hardware->sources;
  document["model"] = {{"name", files.config.name},
                       {"layers", files.config.layers},
                       {"synthetic", bench.engine.synthetic_seed.has_value()}};
  document["workload"] = workload_text(bench.workload);
  document["settings"] = {{"steps", bench.steps}, {"repeats", bench.repeats}};
  ProgressBar bar;
  bool measured = false;
  if (!flags.json) {
    print_out(
        "{}: {}\n| placement | budget | remote % | tokens/s | predicted | entries |\n"
        "|---|---|---|---|---|---|\n",
        files.config.name, workload_text(bench.workload));
  }
  document["rows"] =
      run_workload_bench(files, bench, tiers,
                         {.on_cell = {},
                          .on_load = [&](const Progress& progress) { bar.update(progress); },
                          .on_row =
                              [&](const OrderedRow& row) {
                                bar.clear();
                                measured = measured || row["skipped"].is_null();
                                if (!flags.json) print_out("{}", table_row(row));
                                flush_output();
                              },
                          .cancel = &interrupt.flag()});
  const std::string text =
      document.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  if (flags.json) print_out("{}", text);
  if (!flags.json) print_misfit(document["rows"]);
  if (!flags.output.empty()) write_text_file(flags.output, text, kOutputFix);
  return measured ? 0 : 1;
}

}  // namespace

std::vector<OrderedRow> run_workload_bench(const ModelFiles& files, const WorkloadBench& bench,
                                           const std::vector<Tier>& tiers,
                                           const BenchHooks& hooks) {
  WorkloadRun run(files, bench, tiers, hooks);
  std::vector<OrderedRow> rows;
  for (const std::optional<int64_t>& budget : bench.budgets) {
    for (const PlacementPolicy policy : bench.policies) {
      rows.push_back(run.row(budget, policy, rows.size()));
      if (hooks.on_row) hooks.on_row(rows.back());
    }
  }
  return rows;
}

Command add_bench_workload(CLI::App& bench) {
  auto flags = std::make_shared<BenchWorkloadFlags>();
  CLI::App* command = add_command(
      bench, "workload",
      "Prompts (TTFT) and decode steps of a workload against their predictions, by placement");
  command
      ->add_option("MODEL", flags->model, "Model folder, .gguf or, with --synthetic, config.json")
      ->required();
  command->add_option("--workload", flags->workload,
                      "What is run and planned for, e.g. decode:batch=8,context=1k*0.8 + "
                      "prefill:1k*0.2");
  command->add_option("--steps", flags->steps, "Decode steps of one repeat (default: 20)");
  command->add_option("--repeats", flags->repeats, "Repeats after one to warm up (default: 3)");
  command->add_flag("--json", flags->json, "Print one JSON object instead of a table");
  command->add_option("--output", flags->output, "Write the JSON to this file");
  flags->placement.add_to(*command, /*lists=*/true);
  return [flags] {
    try {
      return run(*flags);
    } catch (const Interrupted&) {
      return 128 + SIGINT;
    }
  };
}

}  // namespace dak
