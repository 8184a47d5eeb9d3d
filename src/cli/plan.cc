#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/report.h"

namespace dak {
namespace {

struct Flags {
  std::string model;
  PlacementFlags placement;
  bool json = false;
};

}  // namespace

Command add_plan(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand(
      "plan", "Show what would lie in which tier and how fast it can be; loads nothing");
  command->add_option("MODEL", flags->model, "Model folder, .gguf or config.json")->required();
  command->add_flag("--json", flags->json, "Print JSON, every operation and row-block span");
  flags->placement.add_to(*command);
  return [flags] {
    const ModelFiles files = open_model(flags->model, /*need_weights=*/false);
    const EngineOptions options = flags->placement.options();
    const Plan plan = plan_model(files, options, probe_tiers(options));
    if (flags->json) {
      nlohmann::json json = plan;
      json["decode"] = prediction_json(plan);
      fmt::print("{}\n", json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
    } else {
      fmt::print("{}{}", plan_table(plan), prediction_text(plan));
    }
    return 0;
  };
}

}  // namespace dak
