#include "plan/planner.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/error.h"
#include "plan/bound.h"
#include "plan/pass_bytes.h"
#include "support/throws_error.h"

namespace dak {
namespace {

constexpr int64_t kPlenty = int64_t{1} << 50;

std::vector<Tier> two_tiers(int64_t host_bytes = kPlenty) {
  return {{.name = "local", .capacity_bytes = kPlenty},
          {.name = "host", .kind = TierKind::kHost, .capacity_bytes = host_bytes}};
}

PlanRequest request_of(std::vector<Operand> operands) {
  return {.model = "m",
          .operands = std::move(operands),
          .fixed = {},
          .tiers = two_tiers(),
          .local_budget_bytes = {},
          .offload_ratio = {}};
}

std::vector<Operand> random_operands(std::mt19937& random) {
  std::vector<Operand> operands;
  const int count = std::uniform_int_distribution(1, 30)(random);
  operands.reserve(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    operands.push_back({.name = std::to_string(i),
                        .rows = std::uniform_int_distribution(1, 5000)(random),
                        .cols = std::uniform_int_distribution(1, 500)(random)});
  }
  return operands;
}

// Every block is in exactly one span, in order.
void expect_covered(const Plan& plan) {
  for (const OperandPlan& entry : plan.operands) {
    int64_t next = 0;
    for (const TierSpan& span : entry.spans) {
      EXPECT_EQ(span.first_block, next);
      EXPECT_GT(span.blocks, 0);
      next += span.blocks;
    }
    EXPECT_EQ(next, entry.operand.blocks());
  }
}

TEST(Planner, WithoutLimitsEverythingIsLocal) {
  const Plan plan = plan_uniform(request_of({{.name = "w", .rows = 1000, .cols = 100}}));
  EXPECT_EQ(plan.offload_ratio(), 0);
  expect_covered(plan);
}

TEST(Planner, RatioIsKeptWithinOneBlock) {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    PlanRequest request = request_of(random_operands(random));
    request.offload_ratio = std::uniform_real_distribution(0.0, 1.0)(random);
    const Plan plan = plan_uniform(request);
    expect_covered(plan);
    int64_t largest = 0;
    for (const Operand& operand : request.operands) {
      largest = std::max(largest, operand.block_bytes());
    }
    const double wanted = *request.offload_ratio * static_cast<double>(plan.weight_bytes());
    EXPECT_LE(std::abs(static_cast<double>(plan.weight_bytes_in(1)) - wanted),
              static_cast<double>(largest));
  }
}

TEST(Planner, RatioZeroAndOneAreExact) {
  std::mt19937 random(2);
  for (int round = 0; round < 50; ++round) {
    PlanRequest request = request_of(random_operands(random));
    request.offload_ratio = 0;
    EXPECT_EQ(plan_uniform(request).weight_bytes_in(1), 0);
    request.offload_ratio = 1;
    EXPECT_EQ(plan_uniform(request).weight_bytes_in(0), 0);
  }
}

TEST(Planner, BudgetIsNeverExceededAndWellUsed) {
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    PlanRequest request = request_of(random_operands(random));
    request.fixed = {
        .vector_bytes = 4096, .kv_bytes = 10000, .kv_tokens = 10, .activation_bytes = 500};
    int64_t weights = 0;
    int64_t largest = 0;
    for (const Operand& operand : request.operands) {
      weights += operand.size_bytes();
      largest = std::max(largest, operand.block_bytes());
    }
    request.local_budget_bytes =
        request.fixed.total_bytes() + std::uniform_int_distribution<int64_t>(0, weights)(random);
    const Plan plan = plan_uniform(request);
    expect_covered(plan);
    EXPECT_LE(plan.bytes_in(0), *request.local_budget_bytes);
    EXPECT_GE(plan.bytes_in(0) + largest, *request.local_budget_bytes);
  }
}

TEST(Planner, TooSmallABudgetNamesTheSmallestThatWorks) {
  PlanRequest request = request_of({{.name = "w", .rows = 640, .cols = 64}});
  request.fixed = {
      .vector_bytes = 1000, .kv_bytes = 2000, .kv_tokens = 7, .activation_bytes = 3000};
  request.local_budget_bytes = 5999;
  EXPECT_TRUE(test::throws_error(ErrorCode::kResourceExhausted, "at least --local-budget 6000",
                                 [&] { plan_uniform(request); }));
  request.local_budget_bytes = 6000;
  EXPECT_EQ(plan_uniform(request).weight_bytes_in(0), 0);
}

// Local, a fast peer and slower host memory.
std::vector<Tier> three_tiers(int64_t peer_bytes = kPlenty) {
  return {
      {.name = "local", .capacity_bytes = kPlenty, .read_bytes_per_s = 4.5e12, .channel = "HBM"},
      {.name = "peer:1",
       .kind = TierKind::kPeer,
       .capacity_bytes = peer_bytes,
       .read_bytes_per_s = 375e9,
       .channel = "NVLink"},
      {.name = "host",
       .kind = TierKind::kHost,
       .capacity_bytes = kPlenty,
       .read_bytes_per_s = 50e9,
       .channel = "host link"}};
}

TEST(Planner, EveryOperandSharesTheLinksByTheirBandwidth) {
  std::mt19937 random(5);
  for (int round = 0; round < 200; ++round) {
    PlanRequest request = request_of(random_operands(random));
    request.tiers = three_tiers();
    request.offload_ratio = std::uniform_real_distribution(0.0, 1.0)(random);
    const Plan plan = plan_uniform(request);
    expect_covered(plan);
    int64_t largest = 0;
    for (const OperandPlan& entry : plan.operands) {
      const int64_t block = entry.operand.block_bytes();
      largest = std::max(largest, block);
      // Rounding is carried on: an operand gives or takes what those before it were short of.
      const auto remote = static_cast<double>(entry.bytes_in(1) + entry.bytes_in(2));
      EXPECT_LE(std::abs(static_cast<double>(entry.bytes_in(1)) - remote * 375 / 425),
                static_cast<double>(largest + block));
    }
    const auto remote = static_cast<double>(plan.weight_bytes_in(1) + plan.weight_bytes_in(2));
    EXPECT_LE(std::abs(static_cast<double>(plan.weight_bytes_in(2)) - remote * 50 / 425),
              static_cast<double>(largest));
  }
}

TEST(Planner, AllLinksAreDoneAtOnce) {
  PlanRequest request = request_of(
      {{.name = "a", .rows = 64000, .cols = 512}, {.name = "b", .rows = 32000, .cols = 256}});
  request.tiers = three_tiers();
  request.offload_ratio = 1;
  const Plan plan = plan_uniform(request);
  const auto all = static_cast<double>(plan.weight_bytes());
  EXPECT_NEAR(bound_seconds(plan.tiers, decode_weight_traffic(plan, 1)), all / 425e9,
              0.01 * all / 425e9);
}

TEST(Planner, WhatOneTierHasNoRoomForIsTheOthers) {
  PlanRequest request =
      request_of({{.name = "a", .rows = 640, .cols = 64}, {.name = "b", .rows = 640, .cols = 64}});
  const int64_t block = request.operands[0].block_bytes();
  request.tiers = three_tiers(/*peer_bytes=*/4 * block);
  request.offload_ratio = 0.5;
  const Plan plan = plan_uniform(request);
  expect_covered(plan);
  EXPECT_EQ(plan.weight_bytes_in(1), 4 * block);
  EXPECT_EQ(plan.weight_bytes_in(2), 6 * block);
  // Not the first operand's alone.
  EXPECT_EQ(plan.operands[0].bytes_in(1), 2 * block);
  EXPECT_EQ(plan.operands[0].tier_of(5), 1);
  EXPECT_EQ(plan.operands[0].tier_of(9), 2);
}

TEST(Planner, TiersOnOneLinkShareIts) {
  PlanRequest request = request_of({{.name = "w", .rows = 64000, .cols = 64}});
  request.tiers = three_tiers();
  request.tiers.push_back(request.tiers[2]);
  request.tiers[3].name = "host:1";
  request.offload_ratio = 1;
  const Plan plan = plan_uniform(request);
  EXPECT_NEAR(plan.weight_bytes_in(1) / static_cast<double>(plan.weight_bytes()), 375.0 / 425,
              2e-3);
  EXPECT_NEAR(plan.weight_bytes_in(2), plan.weight_bytes_in(3), request.operands[0].block_bytes());
}

// Copies come one after the other: each byte in the slow tier is time lost.
TEST(Planner, PrefetchFillsTheFastestTierFirst) {
  PlanRequest request = request_of({{.name = "w", .rows = 640, .cols = 64}});
  const int64_t block = request.operands[0].block_bytes();
  request.tiers = three_tiers(/*peer_bytes=*/3 * block);
  request.offload_ratio = 0.5;
  request.prefetch = true;
  const Plan plan = plan_uniform(request);
  expect_covered(plan);
  EXPECT_EQ(plan.weight_bytes_in(1), 3 * block);
  EXPECT_EQ(plan.weight_bytes_in(2), 2 * block);
}

TEST(Planner, RemoteTiersTooSmallIsAnErrorWithABudgetThatWorks) {
  PlanRequest request = request_of({{.name = "w", .rows = 640, .cols = 64}});
  const int64_t block = request.operands[0].block_bytes();
  request.tiers = two_tiers(2 * block);
  request.local_budget_bytes = 5 * block;
  EXPECT_TRUE(test::throws_error(ErrorCode::kResourceExhausted,
                                 {"remote tiers: are 24.0 KiB too small",
                                  "at least --local-budget " + std::to_string(9 * block)},
                                 [&] { plan_uniform(request); }));
  request.local_budget_bytes = 9 * block;
  EXPECT_LE(plan_uniform(request).weight_bytes_in(1), 2 * block);
  request.local_budget_bytes = 8 * block;  // what is named may be a row block too much
  EXPECT_EQ(plan_uniform(request).weight_bytes_in(1), 2 * block);
}

TEST(Planner, RefusesImpossibleRatios) {
  PlanRequest request = request_of({{.name = "w", .rows = 64, .cols = 64}});
  for (const double ratio : {-0.1, 1.1, std::nan("")}) {
    request.offload_ratio = ratio;
    EXPECT_TRUE(test::throws_error(ErrorCode::kInvalidArgument, "--offload-ratio", [&] {
      plan_uniform(request);
    })) << ratio;
  }
}

TEST(DecodeTraffic, CountsMatricesOnceAndLookupsByRow) {
  PlanRequest request =
      request_of({{.name = "embedding", .use = OperandUse::kLookup, .rows = 6400, .cols = 64},
                  {.name = "w", .rows = 640, .cols = 64}});
  request.offload_ratio = 0.5;
  const Plan plan = plan_uniform(request);
  const TierTraffic traffic = decode_weight_traffic(plan, 4);
  EXPECT_EQ(traffic.read_bytes[0], plan.operand("w").bytes_in(0) + 2 * 64 * 2);
  EXPECT_EQ(traffic.read_bytes[1], plan.operand("w").bytes_in(1) + 2 * 64 * 2);
}

}  // namespace
}  // namespace dak
