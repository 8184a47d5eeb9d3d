#include "cli/report.h"

#include <map>
#include <nlohmann/json.hpp>

#include "base/units.h"
#include "plan/bound.h"

namespace dak {
namespace {

// Operands of different layers that are alike in all but the layer: "layers.*.qkv".
struct OperandGroup {
  std::string name;
  int64_t count = 0;
  Operand operand;
  std::vector<int64_t> tier_bytes;
};

std::string without_layer(const std::string& name) {
  constexpr std::string_view kPrefix = "layers.";
  if (!name.starts_with(kPrefix)) return name;
  return "layers.*" + name.substr(name.find('.', kPrefix.size()));
}

std::vector<OperandGroup> grouped(const Plan& plan) {
  std::vector<OperandGroup> groups;
  std::map<std::string, size_t> index;
  for (const OperandPlan& entry : plan.operands) {
    const std::string name = without_layer(entry.operand.name);
    const auto [found, is_new] = index.emplace(name, groups.size());
    if (is_new) {
      groups.push_back({.name = name,
                        .count = 0,
                        .operand = entry.operand,
                        .tier_bytes = std::vector<int64_t>(plan.tiers.size())});
    }
    OperandGroup& group = groups[found->second];
    group.count += 1;
    for (size_t i = 0; i < plan.tiers.size(); ++i) {
      group.tier_bytes[i] += entry.bytes_in(static_cast<TierIndex>(i));
    }
  }
  return groups;
}

double percent(int64_t part, int64_t whole) {
  return whole == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

std::string tier_columns(const std::vector<int64_t>& bytes) {
  std::string columns;
  for (const int64_t value : bytes) columns += fmt::format(" {:>10}", format_bytes(value));
  return columns;
}

// Of the channel that limits: tiers on one channel have the same rate.
double rate_of(const std::vector<Tier>& tiers, std::string_view channel) {
  for (const Tier& tier : tiers) {
    if (tier.channel == channel) return tier.read_bytes_per_s;
  }
  return 0;
}

std::string fixed_row(std::string_view label, int64_t bytes, size_t tiers) {
  std::vector<int64_t> columns(tiers);
  columns[0] = bytes;
  return fmt::format("{:<26}{:>24}{}\n", label, "", tier_columns(columns));
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

std::string plan_table(const Plan& plan) {
  std::string text = fmt::format("plan for {}: {} policy, {:.1f} % of the weights offloaded\n",
                                 plan.model, plan.policy, 100 * plan.offload_ratio());
  text += fmt::format("why: {}\n\n", plan.reason);
  text += fmt::format("{:<20} {:>5} {:>14} {:>7}", "operation", "count", "shape", "dtype");
  for (const Tier& tier : plan.tiers) text += fmt::format(" {:>10}", tier.name);
  text += fmt::format(" {:>9}\n", "offloaded");
  for (const OperandGroup& group : grouped(plan)) {
    int64_t total = 0;
    for (const int64_t bytes : group.tier_bytes) total += bytes;
    text += fmt::format("{:<20} {:>5} {:>14} {:>7}{} {:>7.1f} %\n", group.name, group.count,
                        fmt::format("{}x{}", group.operand.rows, group.operand.cols),
                        name(group.operand.dtype), tier_columns(group.tier_bytes),
                        percent(total - group.tier_bytes[0], total));
  }
  const size_t tiers = plan.tiers.size();
  text += fixed_row("norms and biases", plan.fixed.vector_bytes, tiers);
  text += fixed_row(fmt::format("KV cache, {} tokens", plan.fixed.kv_tokens), plan.fixed.kv_bytes,
                    tiers);
  if (plan.fixed.kv_remote_bytes > 0) {
    std::vector<int64_t> bytes(tiers, 0);
    bytes.at(1) = plan.fixed.kv_remote_bytes;
    text += fmt::format("{:<50}{}\n", "KV cache, its oldest pages", tier_columns(bytes));
  }
  text += fixed_row("workspace", plan.fixed.activation_bytes, tiers);
  if (plan.fixed.prefetch_bytes > 0) {
    text += fixed_row("prefetch buffers", plan.fixed.prefetch_bytes, tiers);
  }
  if (plan.fixed.backend_bytes > 0) {
    text += fixed_row("schedules, partial sums", plan.fixed.backend_bytes, tiers);
  }
  if (plan.fixed.uva_bytes > 0) text += fixed_row("cuBLASLt", plan.fixed.uva_bytes, tiers);
  std::vector<int64_t> totals;
  for (size_t i = 0; i < tiers; ++i) totals.push_back(plan.bytes_in(static_cast<TierIndex>(i)));
  text += fmt::format("{:<26}{:>24}{}\n", "total", "", tier_columns(totals));
  return text;
}

std::string prediction_text(const Plan& plan) {
  const nlohmann::json prediction = prediction_json(plan);
  std::string text = "\none decode step reads";
  for (const auto& [tier, bytes] : prediction["bytes"].items()) {
    text += fmt::format(" {} from {},", format_bytes(bytes.get<int64_t>()), tier);
  }
  const auto seconds = prediction["bound_s"].get<double>();
  if (seconds > 0) {
    text += fmt::format(" at least {:.2f} ms: at most {:.1f} tokens/s for one sequence\n",
                        seconds * 1e3, 1 / seconds);
    text +=
        fmt::format("bound by {} at {} (measured now), weights only\n",
                    prediction["bottleneck"].get<std::string>(),
                    format_rate(rate_of(plan.tiers, prediction["bottleneck"].get<std::string>())));
  } else {
    text += " bandwidth unknown\n";
  }
  return text;
}

nlohmann::json prediction_json(const Plan& plan) {
  const TierTraffic traffic = decode_weight_traffic(plan, 1);
  nlohmann::json bytes = nlohmann::json::object();
  for (size_t i = 0; i < plan.tiers.size(); ++i) bytes[plan.tiers[i].name] = traffic.read_bytes[i];
  std::string bottleneck;
  const double seconds = bound_seconds(plan.tiers, traffic, &bottleneck);
  return {{"bytes", bytes},
          {"bound_s", seconds},
          {"bottleneck", bottleneck},
          {"tokens_per_s_at_most", seconds > 0 ? 1 / seconds : 0},
          {"smallest_local_budget_bytes", plan.smallest_local_budget_bytes}};
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
