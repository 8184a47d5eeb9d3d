#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "cli/bench_flags.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/model_argument.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/plan_question.h"
#include "cli/plan_report.h"
#include "cli/plan_svg.h"
#include "hardware/presets.h"

namespace dak {
namespace {

constexpr int kCurvePoints = 61;

struct PlanFlags {
  std::string model;
  PlacementFlags placement;
  std::string hardware;
  std::string workload;
  std::string compare;
  std::string svg;
  bool kv_anywhere = false;
  bool json = false;
};

PlanQuestion question_of(PlanFlags& flags) {
  if (!flags.hardware.empty()) flags.placement.device = "cpu";  // none of this machine is looked at
  const bool preset = !flags.hardware.empty();
  HardwareProfile hardware;
  if (preset) hardware = hardware_named(flags.hardware);
  Workload workload;
  if (!flags.workload.empty()) workload = parse_workload(flags.workload, "--workload");
  if (flags.kv_anywhere && flags.placement.kv_ratio > 0) {
    throw_invalid("--kv-ratio", {}, fmt::format("{}", flags.placement.kv_ratio),
                  "contradicts --kv-anywhere, which chooses the ratio", "omit one of the two");
  }
  EngineOptions options = flags.placement.options();
  options.workload = std::move(workload);
  PlanQuestion question{.files = std::make_shared<const ModelFiles>(
                            open_model_argument(flags.model, /*need_weights=*/false)),
                        .options = std::move(options),
                        .tiers = {},
                        .hardware_origin = {}};
  question.options.kv_anywhere = flags.kv_anywhere;
  settle_workload(question, flags.placement.context > 0);
  if (preset) {
    if (hardware.device == "cuda") question.options.device.backend = Backend::kCuda;
    question.tiers = hardware.plan_tiers();
    if (!question.options.tiers.empty()) {
      question.tiers = choose_tiers(question.options.tiers, question.tiers);
    }
    question.hardware_origin = hardware.name;
    question.options.hardware = std::move(hardware);
  } else {
    question.tiers = probe_tiers(question.options);
    question.hardware_origin = add_known_hardware(question.options, question.tiers);
  }
  return question;
}

std::vector<PlacementPolicy> policies_of(const PlanFlags& flags) {
  std::vector<PlacementPolicy> policies;
  if (flags.compare.empty()) return policies;
  for (const std::string& text : parse_list(flags.compare, "--compare")) {
    policies.push_back(parse_placement_policy(text, "--compare"));
  }
  if (policies.size() < 2) {
    throw_invalid("--compare", {}, flags.compare, "is one way to place weights",
                  "use uniform,greedy");
  }
  return policies;
}

PlanQuestion with_policy(const PlanQuestion& question, PlacementPolicy policy) {
  PlanQuestion changed = question;
  changed.options.placement = policy;
  return changed;
}

void write_svg(const PlanQuestion& question, const std::vector<PlacementPolicy>& policies,
               const Plan& plan, const std::string& path) {
  std::vector<BudgetSeries> series;
  series.reserve(policies.size() + 1);
  for (const PlacementPolicy policy : policies) {
    series.push_back({.name = std::string(name(policy)),
                      .points = budget_curve(with_policy(question, policy), kCurvePoints)});
  }
  if (series.empty()) {
    series.push_back({.name = plan.policy, .points = budget_curve(question, kCurvePoints)});
  }
  const std::string title = fmt::format("{} on {}: {}", plan.model, question.hardware_origin,
                                        workload_text(question.options.workload));
  write_text_file(path, budget_svg(title, series, plan.tiers[0].capacity_bytes),
                  "check the folder of --svg");
}

// What does not fit this machine may fit another.
PlanAnswer first_answer(const PlanQuestion& question, const PlanFlags& flags) {
  try {
    return answer(question);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kResourceExhausted || !flags.hardware.empty()) throw;
    ErrorInfo info = error.info();
    info.fix += ", or plan for another machine with --hardware";
    throw Error(error.code(), info);
  }
}

int run(PlanFlags& flags) {
  const std::vector<PlacementPolicy> policies = policies_of(flags);
  const PlanQuestion question = question_of(flags);
  const PlanAnswer found = first_answer(question, flags);
  const WhatIfs others = what_ifs(question, found);
  std::vector<PlanAnswer> compared;
  compared.reserve(policies.size());
  for (const PlacementPolicy policy : policies) {
    compared.push_back(answer(with_policy(question, policy)));
  }
  if (!flags.svg.empty()) write_svg(question, policies, found.plan, flags.svg);
  if (flags.json) {
    print_out("{}\n", plan_json(question, found, others, compared)
                          .dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
    return 0;
  }
  print_out("{}{}{}{}", plan_table(found.plan, found.forecast), forecast_text(question, found),
            comparison_text(compared), what_if_text(question, found, others));
  return 0;
}

}  // namespace

Command add_plan(CLI::App& app) {
  auto flags = std::make_shared<PlanFlags>();
  CLI::App* command = add_command(
      app, "plan", "Show what would lie in which tier and how fast it will be; loads nothing");
  command->add_option("MODEL", flags->model, "Model folder, .gguf or config.json")->required();
  flags->placement.add_to(*command);
  command->option_defaults()->group("What is planned for");
  command
      ->add_option(
          "--hardware", flags->hardware,
          fmt::format("Another machine: a file that dak probe wrote, or one of {}", preset_names()))
      ->excludes(command->get_option("--device"))
      ->excludes(command->get_option("--kernels"));
  command->add_option("--workload", flags->workload,
                      "Shares of tokens, e.g. decode:batch=32,context=8k*0.8 + prefill:2k*0.2 "
                      "(default: decode of one sequence with its context full)");
  command->add_option("--compare", flags->compare, "Ways to place weights: uniform,greedy");
  command->add_option("--svg", flags->svg, "Draw tokens/s against the local budget into this file");
  command->add_flag(
      "--kv-anywhere", flags->kv_anywhere,
      "What if each layer's KV cache lay where it costs least? (the engine has one --kv-ratio)");
  command->add_flag("--json", flags->json, "Print JSON, every operation and row-block span");
  command->footer(
      "A share is of the tokens that go through the model. Without a budget the plan fits what "
      "the\n"
      "device has free, less 1 GiB on a GPU. docs/design/placement.md has the model behind the "
      "numbers.");
  return [flags] { return run(*flags); };
}

}  // namespace dak
