#include "cli/feedback_report.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/bench_facts.h"

namespace dak {
namespace {

constexpr double kTimedSeconds = 0.2;
constexpr int64_t kMostTimedSteps = 5;

std::optional<LinkFacts> host_link_of(const Device& device) {
  const std::optional<NvmlDevice> nvml = nvml_of(device);
  if (!nvml) return std::nullopt;
  return LinkFacts{
      .kind = "pcie", .generation = nvml->pcie_generation(), .width = nvml->pcie_width()};
}

double percent(const double measured, const double predicted) {
  return predicted > 0 ? 100 * (measured / predicted - 1) : 0;
}

}  // namespace

std::string not_modelled(const EngineOptions& options) {
  if (options.mode != AccessMode::kDirect && options.mode != AccessMode::kResident) {
    return fmt::format("mode {} is not modelled", name(options.mode));
  }
  if (options.device.backend == Backend::kCpu) return {};
  if (options.device.kernels == KernelKind::kPlain) return "--kernels plain is not modelled";
  if (options.window_bytes) return "a fixed --window is not modelled";
  return {};
}

int64_t timed_steps(double step_seconds) {
  if (step_seconds <= 0) return 1;
  return std::clamp(static_cast<int64_t>(kTimedSeconds / step_seconds), int64_t{1},
                    kMostTimedSteps);
}

Feedback feedback_on(const ModelConfig& config, const EngineOptions& options, const Plan& plan,
                     const WorkloadEntry& entry, double measured_s,
                     const OperationTimes* operations) {
  const Forecast forecast = forecast_of(config, options, plan, {entry});
  Forecast planned;
  if (!options.workload.empty()) planned = forecast_of(config, options, plan, options.workload);
  return compare({.predicted = forecast.entries.at(0),
                  .measured_s = measured_s,
                  .operations = operations,
                  .planned = planned.first(entry.phase),
                  .tiers = plan.tiers,
                  .profile = options.hardware ? &*options.hardware : nullptr,
                  .host_link_now = host_link_of(options.device)});
}

std::string feedback_text(const Feedback& feedback) {
  if (feedback.differences.empty()) return {};
  std::string text =
      fmt::format("{}: {:.2f} ms, predicted {:.2f} ms ({:+.0f} %)\n", feedback.workload,
                  feedback.measured_s * 1e3, feedback.predicted_s * 1e3,
                  percent(feedback.measured_s, feedback.predicted_s));
  for (const std::string& difference : feedback.differences) text += "  " + difference + "\n";
  return text;
}

nlohmann::json feedback_json(const Feedback& feedback) {
  nlohmann::json json = {{"workload", feedback.workload},
                         {"predicted_s", feedback.predicted_s},
                         {"measured_s", feedback.measured_s},
                         {"difference_percent", percent(feedback.measured_s, feedback.predicted_s)},
                         {"timed_gap_us", feedback.timed_gap_s * 1e6},
                         {"operations", nlohmann::json::array()},
                         {"differences", feedback.differences}};
  for (const OperationFeedback& one : feedback.operations) {
    json["operations"].push_back({{"name", one.name},
                                  {"count", one.count},
                                  {"predicted_s", one.predicted_s},
                                  {"measured_s", one.measured_s},
                                  {"bound_by", one.bound_by}});
  }
  return json;
}

std::string misfit_line(const std::vector<Compared>& all) {
  const auto off = [](const Compared& one) {
    return std::abs(one.feedback["difference_percent"].get<double>());
  };
  size_t compared = 0;
  size_t differ = 0;
  const Compared* worst = nullptr;
  for (const Compared& one : all) {
    if (one.feedback.is_null()) continue;
    ++compared;
    if (one.feedback["differences"].empty()) continue;
    ++differ;
    if (worst == nullptr || off(one) > off(*worst)) worst = &one;
  }
  if (worst == nullptr) return {};
  return fmt::format(
      "{} of {} predictions differ from what was measured by more than {:.0f} %; most that of {} "
      "({:+.0f} %): {}; --output FILE has all (feedback)",
      differ, compared, 100 * kMostDifference, worst->where,
      worst->feedback["difference_percent"].get<double>(),
      worst->feedback["differences"][0].get<std::string>());
}

}  // namespace dak
