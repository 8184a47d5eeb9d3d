#include "base/units.h"
#include "cli/plan_report.h"

namespace dak {
namespace {

std::string or_dash(const std::optional<double>& value, const std::string& text) {
  return value ? text : "-";
}

std::string rate_or_dash(const std::optional<double>& rate) {
  return or_dash(rate, format_rate(rate.value_or(0)));
}

std::string us_or_dash(const std::optional<double>& us) {
  return or_dash(us, fmt::format("{:.2f} us", us.value_or(0)));
}

std::string window_text(const TierProfile& tier) {
  if (!tier.least_window_bytes) return "-";
  return fmt::format("{} to {}", format_bytes(*tier.least_window_bytes),
                     tier.most_window_bytes ? format_bytes(*tier.most_window_bytes) : "?");
}

std::string link_text(const TierProfile& tier) {
  if (!tier.link) return "-";
  std::string text = tier.link->kind;
  if (tier.link->generation) text += fmt::format(" {}", *tier.link->generation);
  if (tier.link->width) text += fmt::format(" x{}", *tier.link->width);
  return text;
}

std::string tiers_text(const HardwareProfile& profile) {
  constexpr const char* kLine =
      "{:<8} {:>10} {:>12} {:>11} {:>11} {:>11} {:>11} {:>9} {:>9}  {:<20} {}\n";
  std::string text = fmt::format(kLine, "tier", "size", "kernels read", "write", "copied in",
                                 "copied out", "local then", "idle", "loaded", "window", "link");
  for (const TierProfile& tier : profile.tiers) {
    text += fmt::format(
        kLine, tier.name, format_bytes(tier.capacity_bytes), format_rate(tier.read_bytes_per_s),
        rate_or_dash(tier.write_bytes_per_s), rate_or_dash(tier.copy_in_bytes_per_s),
        rate_or_dash(tier.copy_out_bytes_per_s), rate_or_dash(tier.local_under_load_bytes_per_s),
        us_or_dash(tier.idle_round_trip_us), us_or_dash(tier.loaded_round_trip_us),
        window_text(tier), link_text(tier));
  }
  return text;
}

}  // namespace

std::string profile_table(const HardwareProfile& profile) {
  std::string text = fmt::format("{} ({}{}{})\n", profile.processor, profile.device,
                                 profile.uuid.empty() ? "" : ", " + profile.uuid,
                                 profile.driver.empty() ? "" : ", driver " + profile.driver);
  for (const auto& [dtype, peak] : profile.peak_flops_per_s) {
    text += fmt::format("{} {:.1f} TFLOP/s  ", name(dtype), peak / 1e12);
  }
  text += fmt::format("start {:.2f} us", profile.launch_overhead_us);
  if (profile.launch_overlapped_us) {
    text += fmt::format(", overlapped {:.2f} us", *profile.launch_overlapped_us);
  }
  if (const auto& sustained = profile.tiers.at(0).sustained_bytes_per_s) {
    text += fmt::format("  local sustained {}", format_rate(*sustained));
  }
  text += "\n\n" + tiers_text(profile);
  for (const NumaNode& node : profile.numa_nodes) {
    text += fmt::format(
        "NUMA node {}: {}{}{}\n", node.node, format_bytes(node.memory_bytes),
        node.nearest ? ", nearest to the GPU" : "",
        node.read_bytes_per_s ? ", kernels read " + format_rate(*node.read_bytes_per_s) : "");
  }
  for (const std::string& source : profile.sources) text += fmt::format("source: {}\n", source);
  return text;
}

}  // namespace dak
