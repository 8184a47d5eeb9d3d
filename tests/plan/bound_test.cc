#include "plan/bound.h"

#include <gtest/gtest.h>

#include "plan/pass_bytes.h"

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

// Two blocks of 8 KiB of each product in tier 1 and one in tier 2, the others local.
// A product with each of the names, that of the last for logits; every weight has 3 remote blocks.
struct Placed {
  explicit Placed(const std::vector<std::string>& products) {
    for (const std::string& name : products) {
      plan.operands.push_back({.operand = {.name = name, .rows = 640, .cols = 64},
                               .spans = {{.tier = 0, .first_block = 0, .blocks = 7},
                                         {.tier = 1, .first_block = 7, .blocks = 2},
                                         {.tier = 2, .first_block = 9, .blocks = 1}}});
      multiply(program.declare(MatrixDecl{.part = name, .cols = 64, .parts = {{name, 640}}}));
    }
    program.steps.back().for_logits = true;
  }
  void multiply(MatrixId matrix) {
    program.steps.push_back({.kind = StepKind::kProduct, .matrix = matrix});
  }

  Program program;
  Plan plan;
};

TEST(RemoteWeights, LayersOncePerPassAndLogitsInTheLast) {
  const Placed model({"layers.0.qkv", "layers.0.down", "lm_head"});
  EXPECT_EQ(remote_weight_bytes(model.program, model.plan, 1), 3 * 3 * 8192);
  EXPECT_EQ(remote_weight_bytes(model.program, model.plan, 5), (2 * 5 + 1) * 3 * 8192);
}

TEST(RemoteWeights, OfATiedModelTheEmbeddingMakesTheLogits) {
  Placed model({"embedding", "layers.0.qkv"});
  std::swap(model.program.steps[0], model.program.steps[1]);
  std::swap(model.program.steps[0].for_logits, model.program.steps[1].for_logits);
  model.program.steps.insert(model.program.steps.begin(),
                             {.kind = StepKind::kLookup, .matrix = {0}});
  EXPECT_EQ(remote_weight_bytes(model.program, model.plan, 1), 2 * 3 * 8192);
  EXPECT_EQ(remote_weight_bytes(model.program, model.plan, 4), (4 + 1) * 3 * 8192);
}

TEST(RemoteWeights, LookedUpRowsAndLocalBlocksDoNotCount) {
  Placed model({"embedding", "layers.0.qkv", "lm_head"});
  model.program.steps[0].kind = StepKind::kLookup;
  model.plan.operands[1].spans = {{.tier = 0, .first_block = 0, .blocks = 10}};
  EXPECT_EQ(remote_weight_bytes(model.program, model.plan, 3), 3 * 8192);
}

}  // namespace
}  // namespace dak
