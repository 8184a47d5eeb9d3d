#include "plan/bound.h"

#include <gtest/gtest.h>

namespace dak {
namespace {

Tier tier(const char* name, double rate, const char* channel) {
  return {.name = name, .read_bytes_per_s = rate, .channel = channel};
}

TEST(Bound, TiersOnTheirOwnChannelsOverlap) {
  TierTraffic traffic;
  traffic.add(0, 3000);
  traffic.add(1, 100);
  std::string bottleneck;
  const std::vector<Tier> tiers{tier("local", 1000, "HBM"), tier("host", 50, "PCIe")};
  EXPECT_DOUBLE_EQ(bound_seconds(tiers, traffic, &bottleneck), 3.0);
  EXPECT_EQ(bottleneck, "HBM");
  traffic.add(1, 100);
  EXPECT_DOUBLE_EQ(bound_seconds(tiers, traffic, &bottleneck), 4.0);
  EXPECT_EQ(bottleneck, "PCIe");
}

TEST(Bound, TiersOnOneChannelAddUp) {
  TierTraffic traffic;
  traffic.add(0, 1000);
  traffic.add(1, 500);
  const std::vector<Tier> tiers{tier("local", 1000, "DRAM"), tier("host", 1000, "DRAM")};
  EXPECT_DOUBLE_EQ(bound_seconds(tiers, traffic), 1.5);
}

TEST(Bound, UnknownBandwidthCountsAsFree) {
  TierTraffic traffic;
  traffic.add(0, 1000);
  EXPECT_EQ(bound_seconds({tier("local", 0, "HBM")}, traffic), 0);
}

}  // namespace
}  // namespace dak
