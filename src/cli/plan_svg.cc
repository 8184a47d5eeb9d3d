#include "cli/plan_svg.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "cli/svg_text.h"

namespace dak {
namespace {

constexpr double kWidth = 760;
constexpr double kHeight = 420;
constexpr double kLeft = 78;
constexpr double kRight = 20;
constexpr double kTop = 46;
constexpr double kBottom = 52;
constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
constexpr std::array<const char*, 4> kColours{"#1f77b4", "#d62728", "#2ca02c", "#9467bd"};

// 1, 2 or 5 times a power of ten, so that about five of them make up `range`.
double tick_step(double range) {
  if (!(range > 0)) return 1;
  const double step = std::pow(10, std::floor(std::log10(range / 5)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (range / (step * factor) <= 6) return step * factor;
  }
  return step * 10;
}

struct Axes {
  double left_gib = 0;
  double right_gib = 1;
  double top = 1;  // tokens per second

  double x(double gib) const {
    const double range = std::max(right_gib - left_gib, 1e-9);
    return kLeft + (gib - left_gib) / range * (kWidth - kLeft - kRight);
  }
  double y(double rate) const {
    return kHeight - kBottom - rate / top * (kHeight - kTop - kBottom);
  }
};

std::string line(double x1, double y1, double x2, double y2, const char* style) {
  return fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" {}/>\n", x1, y1,
                     x2, y2, style);
}

std::string grid(const Axes& axes) {
  constexpr const char* kFaint = "stroke=\"#dddddd\"";
  std::string svg;
  const double x_step = tick_step(axes.right_gib - axes.left_gib);
  for (double gib = std::ceil(axes.left_gib / x_step) * x_step; gib <= axes.right_gib;
       gib += x_step) {
    svg += line(axes.x(gib), kTop, axes.x(gib), kHeight - kBottom, kFaint);
    svg += svg_text(axes.x(gib), kHeight - kBottom + 18, "middle", fmt::format("{:g}", gib));
  }
  const double y_step = tick_step(axes.top);
  for (double rate = 0; rate <= axes.top; rate += y_step) {
    svg += line(kLeft, axes.y(rate), kWidth - kRight, axes.y(rate), kFaint);
    svg += svg_text(kLeft - 8, axes.y(rate) + 4, "end", fmt::format("{:g}", rate));
  }
  svg += svg_text((kLeft + kWidth - kRight) / 2, kHeight - 12, "middle", "local budget, GiB");
  svg += fmt::format(
      "<text x=\"18\" y=\"{:.1f}\" text-anchor=\"middle\" "
      "transform=\"rotate(-90 18 {:.1f})\">tokens/s, predicted</text>\n",
      kHeight / 2, kHeight / 2);
  return svg;
}

}  // namespace

std::string budget_svg(const std::string& title, const std::vector<BudgetSeries>& series,
                       int64_t now_bytes) {
  Axes axes{.left_gib = 1e300, .right_gib = 0, .top = 0};
  for (const BudgetSeries& one : series) {
    for (const BudgetPoint& point : one.points) {
      const double gib = static_cast<double>(point.budget_bytes) / kGiB;
      axes.left_gib = std::min(axes.left_gib, gib);
      axes.right_gib = std::max(axes.right_gib, gib);
      axes.top = std::max(axes.top, point.tokens_per_s * 1.05);
    }
  }
  std::string svg;
  svg += svg_text(kLeft, 22, "start", title);
  svg += grid(axes);
  const double now_gib = static_cast<double>(now_bytes) / kGiB;
  if (now_gib >= axes.left_gib && now_gib <= axes.right_gib) {
    svg += line(axes.x(now_gib), kTop, axes.x(now_gib), kHeight - kBottom,
                "stroke=\"#888888\" stroke-dasharray=\"4 3\"");
  }
  for (size_t i = 0; i < series.size(); ++i) {
    const char* colour = kColours.at(i % kColours.size());
    std::string path;
    for (const BudgetPoint& point : series[i].points) {
      path += fmt::format("{:.1f},{:.1f} ", axes.x(static_cast<double>(point.budget_bytes) / kGiB),
                          axes.y(point.tokens_per_s));
    }
    svg +=
        fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"{}/>\n",
                    path, colour, i == 0 ? "" : " stroke-dasharray=\"7 4\"");
    const double at = kTop - 8;
    const double x = kWidth - kRight - 110 * static_cast<double>(series.size() - i);
    svg += line(x, at, x + 24, at, fmt::format("stroke=\"{}\" stroke-width=\"2\"", colour).c_str());
    svg += svg_text(x + 30, at + 4, "start", series[i].name);
  }
  return svg_document(kWidth, kHeight, svg);
}

}  // namespace dak
