#include "cli/report.h"

#include <nlohmann/json.hpp>

#include "base/units.h"
#include "plan/bound.h"

namespace dak {
namespace {

// Of the channel that limits: tiers on one channel have the same rate.
double rate_of(const std::vector<Tier>& tiers, std::string_view channel) {
  for (const Tier& tier : tiers) {
    if (tier.channel == channel) return tier.read_bytes_per_s;
  }
  return 0;
}

}  // namespace

PhaseReport report_of(const PhaseStats& stats, const std::vector<Tier>& tiers) {
  PhaseReport report;
  if (stats.seconds <= 0) return report;
  report.tokens_per_s = static_cast<double>(stats.tokens) / stats.seconds;
  report.bytes_per_s = static_cast<double>(stats.traffic.total_bytes()) / stats.seconds;
  report.bound_s = bound_seconds(tiers, stats.traffic, &report.bottleneck);
  report.percent_of_bound = 100 * report.bound_s / stats.seconds;
  return report;
}

std::string run_table(const GenerateResult& result, const Plan& plan) {
  const PhaseReport prefill = report_of(result.prefill, plan.tiers);
  const PhaseReport decode = report_of(result.decode, plan.tiers);
  std::string text = fmt::format(
      "prefill  {:>5} tokens {:>8.1f} ms {:>8.1f} tokens/s{}\n", result.prefill.tokens,
      result.prefill.seconds * 1e3, prefill.tokens_per_s,
      result.reused_tokens > 0 ? fmt::format("  ({} reused)", result.reused_tokens) : "");
  if (result.decode.tokens == 0) return text;
  text += fmt::format("decode   {:>5} tokens {:>8.1f} ms {:>8.1f} tokens/s", result.decode.tokens,
                      result.decode.seconds * 1e3, decode.tokens_per_s);
  for (size_t i = 0; i < plan.tiers.size(); ++i) {
    const auto bytes = static_cast<double>(result.decode.traffic.read_bytes[i]);
    text +=
        fmt::format("  {} {} ({})", plan.tiers[i].name, format_bytes(static_cast<int64_t>(bytes)),
                    format_rate(bytes / result.decode.seconds));
  }
  text += "\nKV cache";
  for (size_t i = 0; i < plan.tiers.size(); ++i) {
    const auto bytes = static_cast<double>(result.decode.traffic.kv_bytes[i]);
    text += fmt::format(
        " {} {} ({}){}", plan.tiers[i].name, format_bytes(static_cast<int64_t>(bytes)),
        format_rate(bytes / result.decode.seconds), i + 1 < plan.tiers.size() ? " " : " of these");
  }
  text += fmt::format("\nbound    {} together, {:.0f} % of the bound: {} reads {} (measured now)\n",
                      format_rate(decode.bytes_per_s), decode.percent_of_bound, decode.bottleneck,
                      format_rate(rate_of(plan.tiers, decode.bottleneck)));
  return text;
}

namespace {

nlohmann::json phase_json(const PhaseStats& stats, const Plan& plan, bool with_bound) {
  const PhaseReport report = report_of(stats, plan.tiers);
  nlohmann::json json = {{"tokens", stats.tokens},
                         {"steps", stats.steps},
                         {"seconds", stats.seconds},
                         {"tokens_per_s", report.tokens_per_s},
                         {"bytes_per_s", report.bytes_per_s}};
  for (size_t i = 0; i < plan.tiers.size(); ++i) {
    json["bytes"][plan.tiers[i].name] = stats.traffic.read_bytes[i];
    json["kv_bytes"][plan.tiers[i].name] = stats.traffic.kv_bytes[i];
  }
  if (with_bound) {
    json["bound_s"] = report.bound_s;
    json["percent_of_bound"] = report.percent_of_bound;
    json["bottleneck"] = report.bottleneck;
  }
  return json;
}

}  // namespace

nlohmann::json run_json(const GenerateResult& result, const Plan& plan) {
  nlohmann::json tiers = nlohmann::json::array();
  for (size_t i = 0; i < plan.tiers.size(); ++i) {
    tiers.push_back({{"name", plan.tiers[i].name},
                     {"bytes", plan.bytes_in(static_cast<TierIndex>(i))},
                     {"read_bytes_per_s", plan.tiers[i].read_bytes_per_s}});
  }
  // Prefill is compute-bound and its peak is not measured: no bound is claimed for it.
  return {{"text", result.text},
          {"tokens", result.tokens},
          {"finish_reason", name(result.reason)},
          {"reused_tokens", result.reused_tokens},
          {"prefill", phase_json(result.prefill, plan, false)},
          {"decode", phase_json(result.decode, plan, true)},
          {"offload_ratio", plan.offload_ratio()},
          {"tiers", tiers}};
}

}  // namespace dak
