#include "cli/heat_map_svg.h"

#include <fmt/core.h>

#include <algorithm>
#include <set>

#include "base/units.h"
#include "cli/svg_text.h"

namespace dak {
namespace {

constexpr double kCellWidth = 78;
constexpr double kCellHeight = 40;
constexpr double kLeft = 96;
constexpr double kTop = 74;
constexpr double kPanelGap = 60;
constexpr double kRight = 24;

// Dark red at nothing, pale yellow half way, green at full speed.
std::string colour_of(double share) {
  const double s = std::clamp(share, 0.0, 1.0);
  const auto mix = [s](double low, double middle, double high) {
    const double value =
        s < 0.5 ? low + (middle - low) * 2 * s : middle + (high - middle) * (2 * s - 1);
    return static_cast<int>(value);
  };
  return fmt::format("#{:02x}{:02x}{:02x}", mix(165, 255, 26), mix(0, 240, 150), mix(38, 170, 80));
}

struct Panel {
  const TierProfile& tier;
  double local_alone;
  std::vector<int64_t> windows;
  std::vector<int64_t> readers;

  Panel(const TierProfile& of, double alone) : tier(of), local_alone(alone) {
    std::set<int64_t> all_windows;
    std::set<int64_t> all_readers;
    for (const WindowSample& cell : of.window_map) {
      all_windows.insert(cell.window_bytes);
      all_readers.insert(cell.readers);
    }
    windows.assign(all_windows.begin(), all_windows.end());
    readers.assign(all_readers.begin(), all_readers.end());
  }

  double width() const { return kLeft + kCellWidth * static_cast<double>(windows.size()) + kRight; }
  double height() const {
    return kTop + kCellHeight * static_cast<double>(readers.size()) + kPanelGap;
  }
};

std::string cell_svg(const Panel& panel, const WindowSample& cell, double top) {
  const auto column = std::ranges::find(panel.windows, cell.window_bytes) - panel.windows.begin();
  const auto row = std::ranges::find(panel.readers, cell.readers) - panel.readers.begin();
  const double x = kLeft + kCellWidth * static_cast<double>(column);
  // Most readers on top.
  const double y =
      top + kTop + kCellHeight * static_cast<double>(std::ssize(panel.readers) - 1 - row);
  const double share = panel.local_alone > 0 ? cell.local_bytes_per_s / panel.local_alone : 0;
  const bool inside = panel.tier.least_window_bytes && panel.tier.most_window_bytes &&
                      cell.window_bytes >= *panel.tier.least_window_bytes &&
                      cell.window_bytes <= *panel.tier.most_window_bytes;
  std::string svg = fmt::format(
      "<rect x=\"{:.0f}\" y=\"{:.0f}\" width=\"{:.0f}\" height=\"{:.0f}\" fill=\"{}\" "
      "stroke=\"{}\"><title>window {}, {} readers: local {}, {} {}, round trip {:.2f} us</title>"
      "</rect>\n",
      x, y, kCellWidth - 2, kCellHeight - 2, colour_of(share), inside ? "#333333" : "none",
      format_bytes(cell.window_bytes), cell.readers, format_rate(cell.local_bytes_per_s),
      svg_escaped(panel.tier.name), format_rate(cell.remote_bytes_per_s), cell.round_trip_us);
  svg += svg_text(x + kCellWidth / 2, y + 17, "middle",
                  fmt::format("{:.0f}", cell.local_bytes_per_s / 1e9));
  return svg + svg_text(x + kCellWidth / 2, y + 32, "middle",
                        fmt::format("+ {:.1f}", cell.remote_bytes_per_s / 1e9));
}

std::string panel_svg(const Panel& panel, double top) {
  const TierProfile& tier = panel.tier;
  std::string svg = svg_text(kLeft, top + 24, "start",
                             fmt::format("HBM + {} read at once, GB/s; HBM alone {}", tier.name,
                                         format_rate(panel.local_alone)));
  if (tier.least_window_bytes && tier.most_window_bytes) {
    svg += svg_text(
        kLeft, top + 42, "start",
        fmt::format("framed: the link is full from {} on, HBM keeps its speed up to {}",
                    format_bytes(*tier.least_window_bytes), format_bytes(*tier.most_window_bytes)));
  }
  for (const WindowSample& cell : tier.window_map) svg += cell_svg(panel, cell, top);
  for (size_t i = 0; i < panel.readers.size(); ++i) {
    const auto below = static_cast<double>(panel.readers.size() - 1 - i);
    svg += svg_text(kLeft - 10, top + kTop + kCellHeight * (below + 0.6), "end",
                    fmt::format("{} CTAs", panel.readers[i]));
  }
  const double bottom = top + kTop + kCellHeight * static_cast<double>(panel.readers.size());
  for (size_t i = 0; i < panel.windows.size(); ++i) {
    svg += svg_text(kLeft + kCellWidth * (static_cast<double>(i) + 0.5), bottom + 18, "middle",
                    format_bytes(panel.windows[i]));
  }
  return svg + svg_text(kLeft + kCellWidth * static_cast<double>(panel.windows.size()) / 2,
                        bottom + 38, "middle", "window: remote reads in flight");
}

}  // namespace

std::string heat_map_svg(const HardwareProfile& profile) {
  std::string body;
  double width = 0;
  double height = 18;  // below the GPU's name
  const double alone =
      profile.tiers.at(0).sustained_bytes_per_s.value_or(profile.tiers.at(0).read_bytes_per_s);
  for (const TierProfile& tier : profile.tiers) {
    if (tier.window_map.empty()) continue;
    const Panel panel(tier, alone);
    body += panel_svg(panel, height);
    width = std::max(width, panel.width());
    height += panel.height();
  }
  if (body.empty()) return {};
  return svg_document(width, height, svg_text(kLeft, 20, "start", profile.processor) + body);
}

}  // namespace dak
