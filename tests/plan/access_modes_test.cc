// Plans of the modes prefetch and uva: their own memory is inside the budget.
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "base/error.h"
#include "plan/planner.h"
#include "support/throws_error.h"

namespace dak {
namespace {

constexpr int64_t kPlenty = int64_t{1} << 50;

PlanRequest random_request(std::mt19937& random, bool prefetch) {
  PlanRequest request{
      .model = "m",
      .operands = {},
      .fixed = {.vector_bytes = 4096, .kv_bytes = 10000, .kv_tokens = 10, .activation_bytes = 500},
      .tiers = {{.name = "local", .capacity_bytes = kPlenty},
                {.name = "host", .kind = TierKind::kHost, .capacity_bytes = kPlenty}},
      .local_budget_bytes = {},
      .offload_ratio = {},
      .prefetch = prefetch};
  const int count = std::uniform_int_distribution(1, 30)(random);
  for (int i = 0; i < count; ++i) {
    const bool lookup = std::uniform_int_distribution(0, 9)(random) == 0;
    request.operands.push_back({.name = std::to_string(i),
                                .use = lookup ? OperandUse::kLookup : OperandUse::kMatmul,
                                .rows = std::uniform_int_distribution(1, 5000)(random),
                                .cols = std::uniform_int_distribution(1, 500)(random)});
  }
  return request;
}

int64_t weight_bytes(const PlanRequest& request) {
  int64_t bytes = 0;
  for (const Operand& operand : request.operands) bytes += operand.size_bytes();
  return bytes;
}

// What the backend relies on.
void expect_sound_buffers(const Plan& plan) {
  const PrefetchPlan& prefetch = plan.prefetch;
  EXPECT_EQ(plan.fixed.prefetch_bytes, prefetch.total_bytes());
  EXPECT_LE(prefetch.buffer_bytes.size(), 3u);
  std::set<size_t> staged;
  for (size_t i = 0; i < prefetch.cycle.size(); ++i) {
    const PrefetchPlan::Stage& stage = prefetch.cycle[i];
    const OperandPlan& entry = plan.operands[stage.operand];
    const int64_t remote = entry.operand.size_bytes() - entry.bytes_in(0);
    EXPECT_GT(remote, 0);
    EXPECT_LE(remote, prefetch.buffer_bytes.at(stage.buffer));
    EXPECT_TRUE(staged.insert(stage.operand).second);
    const PrefetchPlan::Stage& next = prefetch.cycle[(i + 1) % prefetch.cycle.size()];
    EXPECT_TRUE(prefetch.cycle.size() == 1 || stage.buffer != next.buffer);
  }
  for (size_t i = 0; i < plan.operands.size(); ++i) {
    const OperandPlan& entry = plan.operands[i];
    const bool wanted = entry.operand.use == OperandUse::kMatmul && entry.offload_ratio() > 0;
    EXPECT_EQ(staged.contains(i), wanted) << entry.operand.name;
  }
}

TEST(PrefetchPlan, BuffersAreInsideTheBudgetWhateverItIs) {
  std::mt19937 random(1);
  int planned = 0;
  for (int round = 0; round < 500; ++round) {
    PlanRequest request = random_request(random, /*prefetch=*/true);
    request.offload_ratio = 1;
    const Plan all_remote = plan_uniform(request);
    EXPECT_EQ(all_remote.smallest_local_budget_bytes, all_remote.bytes_in(0));
    request.offload_ratio.reset();
    const int64_t most = request.fixed.total_bytes() + weight_bytes(request);
    const int64_t budget =
        std::uniform_int_distribution(request.fixed.total_bytes(), most + 1000)(random);
    request.local_budget_bytes = budget;
    if (budget < all_remote.bytes_in(0)) {
      EXPECT_TRUE(test::throws_error(ErrorCode::kResourceExhausted,
                                     {"--local-budget", "is too small"},
                                     [&] { plan_uniform(request); }));
      continue;
    }
    ++planned;
    const Plan plan = plan_uniform(request);
    EXPECT_LE(plan.bytes_in(0), budget);
    expect_sound_buffers(plan);
    EXPECT_TRUE(budget < most || plan.offload_ratio() == 0);
  }
  EXPECT_GT(planned, 200);
}

TEST(PrefetchPlan, TheBudgetIsUsed) {
  PlanRequest request{
      .model = "m",
      .operands = {},
      .fixed = {},
      .tiers = {{.name = "local", .capacity_bytes = kPlenty},
                {.name = "host", .kind = TierKind::kHost, .capacity_bytes = kPlenty}},
      .local_budget_bytes = {},
      .offload_ratio = {},
      .prefetch = true};
  for (int i = 0; i < 40; ++i) {
    request.operands.push_back({.name = std::to_string(i), .rows = 6400, .cols = 640});
  }
  const int64_t weights = weight_bytes(request);
  const int64_t block = request.operands[0].block_bytes();
  for (const double share : {0.1, 0.3, 0.5, 0.9, 0.99}) {
    request.local_budget_bytes = static_cast<int64_t>(share * static_cast<double>(weights));
    const Plan plan = plan_uniform(request);
    EXPECT_LE(plan.bytes_in(0), *request.local_budget_bytes);
    // A block more or less in each of the buffers.
    EXPECT_GE(plan.bytes_in(0) + 3 * block, *request.local_budget_bytes) << share;
    expect_sound_buffers(plan);
  }
}

TEST(PrefetchPlan, TheSmallestBudgetWorksAndOneByteLessDoesNot) {
  std::mt19937 random(2);
  for (int round = 0; round < 50; ++round) {
    PlanRequest request = random_request(random, /*prefetch=*/true);
    request.offload_ratio = 1;
    const int64_t smallest = plan_uniform(request).smallest_local_budget_bytes;
    request.offload_ratio.reset();
    request.local_budget_bytes = smallest;
    EXPECT_LE(plan_uniform(request).bytes_in(0), smallest);
    request.local_budget_bytes = smallest - 1;
    EXPECT_TRUE(test::throws_error(ErrorCode::kResourceExhausted,
                                   "at least --local-budget " + std::to_string(smallest),
                                   [&] { plan_uniform(request); }));
  }
}

TEST(PrefetchPlan, AGivenRatioIsThatOfTheOtherModes) {
  std::mt19937 random(3);
  for (const double ratio : {0.0, 0.1, 0.5, 1.0}) {
    PlanRequest request = random_request(random, /*prefetch=*/true);
    request.offload_ratio = ratio;
    const Plan plan = plan_uniform(request);
    request.prefetch = false;
    const Plan direct = plan_uniform(request);
    EXPECT_EQ(plan.weight_bytes_in(1), direct.weight_bytes_in(1));
    EXPECT_EQ(direct.fixed.prefetch_bytes, 0);
    expect_sound_buffers(plan);
  }
}

void expect_whole(const Plan& plan) {
  for (const OperandPlan& entry : plan.operands) {
    ASSERT_EQ(entry.spans.size(), 1u);
    EXPECT_EQ(entry.spans[0].first_block, 0);
    EXPECT_EQ(entry.spans[0].blocks, entry.operand.blocks());
    EXPECT_EQ(entry.operand.layout == WeightLayout::kRowMajor,
              entry.operand.use == OperandUse::kMatmul);
  }
}

TEST(WholeOperands, TheBudgetIsNeverExceededAndNothingMoreWouldFit) {
  std::mt19937 random(4);
  for (int round = 0; round < 500; ++round) {
    PlanRequest request = random_request(random, /*prefetch=*/false);
    const int64_t fixed = request.fixed.total_bytes();
    const int64_t budget =
        std::uniform_int_distribution(fixed, fixed + weight_bytes(request) + 1000)(random);
    request.local_budget_bytes = budget;
    const Plan plan = plan_whole_operands(request);
    expect_whole(plan);
    EXPECT_LE(plan.bytes_in(0), budget);
    for (const OperandPlan& entry : plan.operands) {
      if (entry.offload_ratio() > 0) {
        EXPECT_GT(plan.bytes_in(0) + entry.operand.size_bytes(), budget);
      }
    }
  }
}

TEST(WholeOperands, RatioIsKeptWithinHalfAnOperandAndSpreadEvenly) {
  std::mt19937 random(5);
  for (int round = 0; round < 300; ++round) {
    PlanRequest request = random_request(random, /*prefetch=*/false);
    const double ratio = std::uniform_real_distribution(0.0, 1.0)(random);
    request.offload_ratio = ratio;
    const Plan plan = plan_whole_operands(request);
    expect_whole(plan);
    double wanted = 0;
    double placed = 0;
    double largest = 0;
    for (const OperandPlan& entry : plan.operands) {  // of every part of the list, not of all alone
      const auto size = static_cast<double>(entry.operand.size_bytes());
      wanted += ratio * size;
      placed += entry.offload_ratio() * size;
      largest = std::max(largest, size);
      EXPECT_LE(std::abs(wanted - placed), largest / 2 + 1);
    }
  }
}

TEST(WholeOperands, RatioZeroAndOneAreExact) {
  std::mt19937 random(6);
  for (int round = 0; round < 50; ++round) {
    PlanRequest request = random_request(random, /*prefetch=*/false);
    request.offload_ratio = 0;
    EXPECT_EQ(plan_whole_operands(request).weight_bytes_in(1), 0);
    request.offload_ratio = 1;
    EXPECT_EQ(plan_whole_operands(request).weight_bytes_in(0), 0);
  }
}

TEST(WholeOperands, RefusesWhatCannotWorkAndSaysWhatWould) {
  PlanRequest request{
      .model = "m",
      .operands = {{.name = "a", .rows = 640, .cols = 64}, {.name = "b", .rows = 640, .cols = 64}},
      .fixed = {.vector_bytes = 1000, .uva_bytes = 5000},
      .tiers = {{.name = "local", .capacity_bytes = kPlenty},
                {.name = "host", .kind = TierKind::kHost, .capacity_bytes = 100}},
      .local_budget_bytes = 5999,
      .offload_ratio = {}};
  const auto message = [&request] {
    try {
      plan_whole_operands(request);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_NE(message().find("at least --local-budget 6000"), std::string::npos) << message();
  request.local_budget_bytes = 6000;  // and all remote, where there is no room
  EXPECT_NE(message().find("remote tiers"), std::string::npos) << message();
  request.tiers[1].capacity_bytes = kPlenty;
  EXPECT_EQ(message(), "");
  request.offload_ratio = 1.5;
  EXPECT_NE(message().find("--offload-ratio"), std::string::npos) << message();
}

}  // namespace
}  // namespace dak
