#include "cli/bench_rows.h"

#include <algorithm>
#include <cctype>
#include <map>

#include "base/units.h"
#include "cli/feedback_report.h"
#include "plan/bound.h"
#include "plan/pass_bytes.h"

namespace dak {
namespace {

// Tiers on one channel share its rate.
double sum_of_channels(const std::vector<Tier>& tiers) {
  std::map<std::string, double> rates;
  for (const Tier& tier : tiers) rates[tier.channel] = tier.read_bytes_per_s;
  double sum = 0;
  for (const auto& [channel, rate] : rates) sum += rate;
  return sum;
}

// All fields, in the order in which they are printed; those of the cell filled in.
OrderedRow empty_row(const BenchCell& cell, const std::vector<Tier>& tiers) {
  OrderedRow row;
  row["mode"] = name(cell.mode);
  row["batch"] = cell.batch;
  row["ratio_asked"] = or_null(cell.placement.ratio);
  row["hbm_budget_bytes"] = or_null(cell.placement.budget_bytes);
  row["window_asked_bytes"] = or_null(cell.window_bytes);
  for (const char* field :
       {"skipped", "offload_ratio", "hbm_used_bytes", "past_tokens", "kv_ratio", "steps", "tpot_s",
        "tpot_min_s", "tpot_max_s", "tpot_spread_percent", "tokens_per_s"}) {
    row[field] = nullptr;
  }
  for (const Tier& tier : tiers) row[field_of("bytes", tier)] = nullptr;
  for (const Tier& tier : tiers) row[field_of("gb_s", tier)] = nullptr;
  for (const Tier& tier : tiers) row[field_of("kv_bytes", tier)] = nullptr;
  for (const Tier& tier : tiers) row[field_of("kv_gb_s", tier)] = nullptr;
  for (const char* field : {"weight_bytes", "eb_gb_s", "eb_percent_of_sum", "bound_s",
                            "percent_of_bound", "bound_by"}) {
    row[field] = nullptr;
  }
  for (const Tier& tier : tiers) {
    if (tier.kind == TierKind::kLocal) continue;
    for (const char* prefix : {"window_bytes", "delay_us", "min_delay_us", "read_amplification"}) {
      row[field_of(prefix, tier)] = nullptr;
    }
  }
  for (const char* field :
       {"predicted_tpot_s", "feedback", "power_w", "j_per_token", "sm_clock_mhz", "load_s"}) {
    row[field] = nullptr;
  }
  return row;
}

void add_links(OrderedRow& row, const std::vector<Tier>& tiers, const DecodeMeasurement& measured) {
  for (size_t i = 0; i < measured.link.size(); ++i) {
    // A link that no kernel read has no window: the mode does not use it.
    if (!measured.link[i] || measured.link[i]->read_bytes == 0) continue;
    const LinkMeasurement& link = *measured.link[i];
    if (link.status.window_bytes > 0) {
      row[field_of("window_bytes", tiers[i])] = link.status.window_bytes;
      row[field_of("delay_us", tiers[i])] = link.status.delay_us;
      row[field_of("min_delay_us", tiers[i])] = link.status.min_delay_us;
    }
    if (measured.traffic.read_bytes[i] == 0) continue;
    row[field_of("read_amplification", tiers[i])] =
        static_cast<double>(link.read_bytes) / static_cast<double>(measured.traffic.read_bytes[i]);
  }
}

}  // namespace

std::string description(const BenchCell& cell) {
  const BenchPlacement& placement = cell.placement;
  std::string text =
      fmt::format("{}, {}, batch {}", name(cell.mode),
                  placement.budget_bytes ? "budget " + format_bytes(*placement.budget_bytes)
                                         : fmt::format("ratio {:.3g}", placement.ratio.value_or(0)),
                  cell.batch);
  if (cell.window_bytes) text += ", window " + format_bytes(*cell.window_bytes);
  return text;
}

std::string field_of(std::string_view prefix, const Tier& tier) {
  std::string field = fmt::format("{}_{}", prefix, tier.name);
  std::ranges::replace_if(
      field, [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return field;
}

OrderedRow skipped_row(const BenchCell& cell, const std::vector<Tier>& tiers,
                       const std::string& reason) {
  OrderedRow row = empty_row(cell, tiers);
  row["skipped"] = reason;
  return row;
}

OrderedRow measured_row(const BenchCell& cell, const Plan& plan, const DecodeMeasurement& measured,
                        const DecodeBench& bench, double load_seconds) {
  const Summary& step = measured.step_seconds;
  const double tpot_s = step.median;
  OrderedRow row = empty_row(cell, plan.tiers);
  row["offload_ratio"] = plan.offload_ratio();
  row["hbm_used_bytes"] = plan.bytes_in(0);
  row["past_tokens"] = bench.past_tokens.value_or(0);
  row["kv_ratio"] = measured.kv_ratio;
  row["steps"] = step.count;
  row["tpot_s"] = tpot_s;
  row["tpot_min_s"] = step.min;
  row["tpot_max_s"] = step.max;
  row["tpot_spread_percent"] = step.spread_percent;
  row["tokens_per_s"] = static_cast<double>(cell.batch) / tpot_s;
  TierTraffic per_step;
  for (size_t i = 0; i < plan.tiers.size(); ++i) {
    const int64_t bytes = measured.traffic.read_bytes[i] / step.count;
    per_step.add(static_cast<TierIndex>(i), bytes);
    row[field_of("bytes", plan.tiers[i])] = bytes;
    row[field_of("gb_s", plan.tiers[i])] = static_cast<double>(bytes) / tpot_s / kGiga;
    const int64_t kv_bytes = measured.traffic.kv_bytes[i] / step.count;
    row[field_of("kv_bytes", plan.tiers[i])] = kv_bytes;
    row[field_of("kv_gb_s", plan.tiers[i])] = static_cast<double>(kv_bytes) / tpot_s / kGiga;
  }
  const auto weights = static_cast<double>(decode_weight_traffic(plan, cell.batch).total_bytes());
  const double sum = sum_of_channels(plan.tiers);
  row["weight_bytes"] = static_cast<int64_t>(weights);
  row["eb_gb_s"] = weights / tpot_s / kGiga;
  if (sum > 0) row["eb_percent_of_sum"] = 100 * weights / tpot_s / sum;
  std::string bottleneck;
  const double bound_s = bound_seconds(plan.tiers, per_step, &bottleneck);
  row["bound_s"] = bound_s;
  row["percent_of_bound"] = 100 * bound_s / tpot_s;
  row["bound_by"] = bottleneck;
  add_links(row, plan.tiers, measured);
  if (measured.energy_j) {
    row["power_w"] = *measured.energy_j / measured.energy_seconds;
    row["j_per_token"] = *measured.energy_j / static_cast<double>(measured.energy_tokens);
  }
  if (measured.feedback) {
    row["predicted_tpot_s"] = measured.feedback->predicted_s;
    row["feedback"] = feedback_json(*measured.feedback);
  }
  row["sm_clock_mhz"] = or_null(measured.sm_clock_mhz);
  row["load_s"] = load_seconds;
  return row;
}

}  // namespace dak
