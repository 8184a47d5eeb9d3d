#include "cli/heat_map_svg.h"

#include <gtest/gtest.h>

#include "hardware/presets.h"

namespace dak {
namespace {

size_t count_of(const std::string& text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(HeatMapSvg, HasACellForEachSampleAndFramesTheKnee) {
  HardwareProfile profile = hardware_named("h100");
  EXPECT_EQ(heat_map_svg(profile), "");  // presets have no map
  profile.processor = "A <GPU> & more";
  profile.tiers[1].least_window_bytes = 256 << 10;
  profile.tiers[1].most_window_bytes = 1 << 20;
  for (const int64_t window : {128 << 10, 256 << 10, 1 << 20, 4 << 20}) {
    profile.tiers[1].window_map.push_back({.window_bytes = window,
                                           .readers = 8,
                                           .remote_bytes_per_s = 51e9,
                                           .local_bytes_per_s = window > (1 << 20) ? 94e9 : 3130e9,
                                           .round_trip_us = 5});
  }
  const std::string svg = heat_map_svg(profile);
  EXPECT_EQ(svg.rfind("<svg", 0), 0u);
  EXPECT_EQ(count_of(svg, "<title>"), 4u);
  EXPECT_EQ(count_of(svg, "stroke=\"#333333\""), 2u);
  for (const char* part : {"A &lt;GPU> &amp; more", "8 CTAs", "4.00 MiB", ">94<", ">3130<"}) {
    EXPECT_NE(svg.find(part), std::string::npos) << part << "\n" << svg;
  }
  EXPECT_EQ(svg.find("nan"), std::string::npos);
}

}  // namespace
}  // namespace dak
