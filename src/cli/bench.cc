#include "cli/bench.h"

#include <fmt/core.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>

#include "base/error.h"
#include "base/file.h"
#include "cli/bench_facts.h"
#include "cli/bench_flags.h"
#include "cli/bench_prefill.h"
#include "cli/bench_report.h"
#include "cli/bench_serve.h"
#include "cli/bench_workload.h"
#include "cli/commands.h"
#include "cli/feedback_report.h"
#include "cli/flags.h"
#include "cli/model_argument.h"
#include "cli/output.h"
#include "cli/terminal.h"

namespace dak {
namespace {

void settle_ratios(DecodeBench& bench, const std::vector<Tier>& tiers) {
  for (BenchPlacement& placement : bench.placements) {
    if (placement.matched) placement.ratio = matched_ratio(tiers);
  }
}

void print_row(const OrderedRow& document, const OrderedRow& row, BenchFormat format, bool first) {
  if (format == BenchFormat::kMarkdown) {
    print_out("{}{}", first ? markdown_header(document) : "", markdown_row(document, row));
  } else if (format == BenchFormat::kCsv) {
    print_out("{}{}", first ? csv_header(row) : "", csv_row(document, row));
  }
  flush_output();
}

// Under a table, whether predictions held.
void print_misfit(const OrderedRow& rows) {
  std::vector<Compared> all;
  for (const OrderedRow& row : rows) {
    if (!row["skipped"].is_null()) continue;
    all.push_back(
        {fmt::format("{}, batch {}, {:.3g} % remote", row["mode"].get<std::string>(),
                     row["batch"].get<int64_t>(), 100 * row["offload_ratio"].get<double>()),
         row["feedback"]});
  }
  if (const std::string line = misfit_line(all); !line.empty()) print_out("\n{}\n", line);
}

int run(const BenchFlags& flags) {
  DecodeBench bench = flags.bench();
  const BenchFormat format = flags.output_format();
  const ModelFiles files = open_model_argument(bench.model, !bench.engine.synthetic_seed);
  settle_context(bench, files.config);
  if (!flags.output.empty()) check_writable(flags.output, kOutputFix);
  const InterruptGuard interrupt;
  const std::vector<Tier> tiers = probe_tiers(bench.engine);
  add_known_hardware(bench.engine, tiers);
  settle_ratios(bench, tiers);
  const std::optional<NvmlDevice> nvml = nvml_of(bench.engine.device);
  OrderedRow document{{"format", "dak bench decode 1"}};
  document["command"] = command_line();
  document["machine"] = machine_facts(bench.engine.device, tiers, nvml);
  document["model"] = model_facts(files, bench, tiers);
  document["settings"] = settings_facts(bench);

  StatusLine line;
  ProgressBar bar;
  bool first = true;
  bool measured = false;
  document["rows"] =
      run_decode_bench(files, bench, tiers, nvml,
                       {.on_cell =
                            [&](const std::string& what, size_t done) {
                              line.show(fmt::format("[{}/{}] {}", done + 1, bench.cells(), what));
                            },
                        .on_load = [&](const Progress& progress) { bar.update(progress); },
                        .on_row =
                            [&](const OrderedRow& row) {
                              line.clear();
                              print_row(document, row, format, first);
                              first = false;
                              measured = measured || row["skipped"].is_null();
                            },
                        .cancel = &interrupt.flag()});
  const std::string text =
      document.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  if (format == BenchFormat::kJson) print_out("{}", text);
  if (format == BenchFormat::kMarkdown) print_misfit(document["rows"]);
  if (!flags.output.empty()) write_text_file(flags.output, text, kOutputFix);
  return measured ? 0 : 1;
}

int run_until_interrupted(const BenchFlags& flags) {
  try {
    return run(flags);
  } catch (const Interrupted&) {
    return 128 + SIGINT;
  }
}

int run_prefill_until_interrupted(const PrefillFlags& flags) {
  const InterruptGuard interrupt;
  try {
    return run_prefill_bench(flags, interrupt.flag());
  } catch (const Interrupted&) {
    return 128 + SIGINT;
  }
}

}  // namespace

// `dak bench MODEL` takes the same flags as `dak bench decode MODEL`, and both helps are whole.
Command add_bench(CLI::App& app) {
  CLI::App* command = add_command(
      app, "bench", "Measure decode over lists of batches, ratios or budgets, and modes");
  auto plain = std::make_shared<BenchFlags>();
  plain->add_to(*command);
  auto decode = std::make_shared<BenchFlags>();
  CLI::App* decode_command = add_command(
      *command, "decode", "Decode steps; the default: dak bench MODEL is dak bench decode MODEL");
  decode->add_to(*decode_command);
  auto prefill = std::make_shared<PrefillFlags>();
  CLI::App* prefill_command =
      add_command(*command, "prefill", "Time to the first token over lists of prompt lengths");
  prefill->add_to(*prefill_command);
  const Command workload = add_bench_workload(*command);
  const CLI::App* workload_command = command->get_subcommand("workload");
  const Command serve = add_bench_serve(*command);
  const CLI::App* serve_command = command->get_subcommand("serve");
  return [plain, decode, decode_command, prefill, prefill_command, workload, workload_command,
          serve, serve_command] {
    if (serve_command->parsed()) return serve();
    if (prefill_command->parsed()) return run_prefill_until_interrupted(*prefill);
    if (workload_command->parsed()) return workload();
    return run_until_interrupted(decode_command->parsed() ? *decode : *plain);
  };
}

}  // namespace dak
