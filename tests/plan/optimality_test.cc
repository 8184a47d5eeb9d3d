// The greedy algorithm and the linear program against an exact solver, on random instances.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "exact_solver.h"

namespace dak {
namespace {

using test::least_cost;
using test::least_cost_of_blocks;

constexpr double kRelative = 1e-7;  // what GLPK promises of an objective

double uniform(std::mt19937& random, double least, double most) {
  return std::uniform_real_distribution(least, most)(random);
}
int64_t whole(std::mt19937& random, int64_t least, int64_t most) {
  return std::uniform_int_distribution(least, most)(random);
}

struct Shape {
  int most_items = 8;
  int64_t most_blocks = 40;
  bool one_block_size = false;
  int remote_tiers = 1;
  bool equal_links = true;  // every remote tier costs alike
};

// A maximum of a few lines: some flat, some that fall as bytes leave, some that rise.
OperationCost random_cost(std::mt19937& random, const Shape& shape) {
  OperationCost cost;
  cost.fixed_s = uniform(random, 0, 10);
  const auto lines = whole(random, 1, 4);
  for (int64_t i = 0; i < lines; ++i) {
    CostLine line{.fixed_s = uniform(random, 0, 300)};
    if (whole(random, 0, 3) != 0) line.per_byte[0] = uniform(random, 0, 2);
    for (int t = 1; t <= shape.remote_tiers; ++t) {
      const auto tier = static_cast<size_t>(t);
      if (t > 1 && shape.equal_links) {
        line.per_byte[tier] = line.per_byte[1];
      } else if (whole(random, 0, 2) != 0) {
        line.per_byte[tier] = uniform(random, 0, 20);
      }
    }
    cost.lines.push_back(line);
  }
  return cost;
}

PlacementProblem random_problem(std::mt19937& random, const Shape& shape) {
  PlacementProblem problem;
  const auto items = whole(random, 1, shape.most_items);
  const int64_t block_size = whole(random, 1, 9);
  int64_t total = 0;
  for (int64_t i = 0; i < items; ++i) {
    if (i > 0 && whole(random, 0, 2) == 0) {  // as the layer before
      problem.items.push_back(problem.items.back());
    } else {
      PlacedItem item{.blocks = whole(random, 0, shape.most_blocks),
                      .block_bytes = shape.one_block_size ? block_size : whole(random, 1, 9)};
      const auto terms = whole(random, 0, 3);
      for (int64_t j = 0; j < terms; ++j) {
        item.terms.push_back({uniform(random, 0.1, 2), random_cost(random, shape)});
      }
      problem.items.push_back(std::move(item));
    }
    total += problem.items.back().size_bytes();
  }
  problem.capacity_bytes.push_back(whole(random, 0, total));
  for (int t = 0; t < shape.remote_tiers; ++t) {
    problem.capacity_bytes.push_back(whole(random, 0, 3) == 0 ? total : whole(random, 0, total));
  }
  if (shape.one_block_size) {
    // Needs and rooms are whole blocks too: then nothing is lost to rounding.
    for (int64_t& capacity : problem.capacity_bytes) capacity = capacity / block_size * block_size;
  }
  if (whole(random, 0, 5) == 0) {
    problem.offload_bytes = whole(random, 0, total);
    if (shape.one_block_size) *problem.offload_bytes -= *problem.offload_bytes % block_size;
  }
  return problem;
}

void expect_sound(const PlacementProblem& problem, const Placement& placement) {
  std::vector<int64_t> used(problem.capacity_bytes.size());
  int64_t total = 0;
  for (size_t i = 0; i < problem.items.size(); ++i) {
    int64_t blocks = 0;
    for (size_t t = 0; t < kMaxTiers; ++t) {
      ASSERT_GE(placement.blocks[i][t], 0);
      blocks += placement.blocks[i][t];
      if (t < used.size()) used[t] += placement.blocks[i][t] * problem.items[i].block_bytes;
    }
    ASSERT_EQ(blocks, problem.items[i].blocks);
    total += problem.items[i].size_bytes();
  }
  for (size_t t = 1; t < used.size(); ++t) ASSERT_LE(used[t], problem.capacity_bytes[t]);
  if (placement.missing_bytes > 0) return;
  if (problem.offload_bytes) {
    ASSERT_GE(total - used[0], *problem.offload_bytes);
  } else {
    ASSERT_LE(used[0], problem.capacity_bytes[0]);
  }
}

// What moving one block more or less, of the items' blocks and over their lines, can cost at most.
double dearest_block(const PlacementProblem& problem) {
  double dearest = 0;
  for (const PlacedItem& item : problem.items) {
    double cost = 0;
    for (const PlacedItem::Term& term : item.terms) {
      double slope = 0;
      for (const CostLine& line : term.cost.lines) {
        for (size_t t = 1; t < problem.capacity_bytes.size(); ++t) {
          slope = std::max(slope, std::abs(line.per_byte[t] - line.per_byte[0]));
        }
      }
      cost += term.weight * slope * static_cast<double>(item.block_bytes);
    }
    dearest = std::max(dearest, cost);
  }
  return dearest;
}

// The objective with each item's cost straight between whole blocks: what a placement in blocks can
// have at best, were the last block divisible.
PlacementProblem straightened(const PlacementProblem& problem) {
  PlacementProblem straight = problem;
  for (size_t i = 0; i < problem.items.size(); ++i) {
    const PlacedItem& item = problem.items[i];
    OperationCost cost;
    for (int64_t block = 0; block < std::max<int64_t>(1, item.blocks); ++block) {
      double values[2] = {0, 0};
      for (int64_t side = 0; side < 2; ++side) {
        const int64_t remote = std::min(block + side, item.blocks) * item.block_bytes;
        for (const PlacedItem::Term& term : item.terms) {
          TierBytes bytes{};
          bytes[0] = item.size_bytes() - remote;
          bytes[1] = remote;
          values[side] += term.weight * time_of(term.cost, bytes).seconds;
        }
      }
      const double slope = (values[1] - values[0]) / static_cast<double>(item.block_bytes);
      CostLine line{.fixed_s = values[0] - slope * static_cast<double>(block * item.block_bytes)};
      line.per_byte[1] = slope;
      cost.lines.push_back(line);
    }
    straight.items[i].terms = {{1, cost}};
  }
  return straight;
}

TEST(Greedy, EqualsTheLinearProgramWhereBlocksAreEqual) {
  std::mt19937 random(1);
  int solved = 0;
  int infeasible = 0;
  for (int round = 0; round < 3000; ++round) {
    const PlacementProblem problem = random_problem(random, {.one_block_size = true});
    const Placement placement = place_greedily(problem);
    expect_sound(problem, placement);
    const std::optional<double> least = least_cost(straightened(problem));
    ASSERT_EQ(least.has_value(), placement.missing_bytes == 0) << round;
    if (!least) {
      ++infeasible;
      continue;
    }
    ++solved;
    ASSERT_NEAR(cost_of_placement(problem, placement.blocks), *least,
                kRelative * std::max(1.0, *least))
        << round;
  }
  EXPECT_GT(solved, 1500);
  EXPECT_GT(infeasible, 100);
}

TEST(Greedy, LosesAtMostOneBlockWhereTheyAreNot) {
  std::mt19937 random(2);
  int solved = 0;
  for (int round = 0; round < 3000; ++round) {
    PlacementProblem problem = random_problem(random, {});
    problem.offload_bytes.reset();  // not every number of bytes is one of whole blocks
    const Placement placement = place_greedily(problem);
    expect_sound(problem, placement);
    const std::optional<double> least = least_cost(straightened(problem));
    if (!least || placement.missing_bytes > 0) continue;
    ++solved;
    const double cost = cost_of_placement(problem, placement.blocks);
    ASSERT_GE(cost, *least - kRelative * std::max(1.0, *least)) << round;
    ASSERT_LE(cost, *least + dearest_block(problem) + kRelative * *least) << round;
    // Bytes divided at will are never dearer, and cheaper by no more than the bends inside blocks:
    // one for each pair of lines of each item.
    const std::optional<double> divided = least_cost(problem);
    ASSERT_TRUE(divided.has_value());
    ASSERT_LE(*divided, *least + kRelative * std::max(1.0, *least));
  }
  EXPECT_GT(solved, 1500);
}

TEST(Greedy, IsWithinABlockOfTheBestPlacementInBlocks) {
  std::mt19937 random(3);
  int solved = 0;
  for (int round = 0; round < 200; ++round) {
    PlacementProblem problem = random_problem(random, {.most_items = 4, .most_blocks = 8});
    problem.offload_bytes.reset();  // not every number of bytes is one of whole blocks
    const Placement placement = place_greedily(problem);
    const std::optional<double> best = least_cost_of_blocks(problem);
    if (!best || placement.missing_bytes > 0) continue;
    ++solved;
    const double cost = cost_of_placement(problem, placement.blocks);
    ASSERT_GE(cost, *best - 1e-5 * std::max(1.0, *best)) << round;
    ASSERT_LE(cost, *best + dearest_block(problem) + 1e-5 * *best) << round;
  }
  EXPECT_GT(solved, 100);
}

TEST(Greedy, SeveralTiersOnOneLinkFillInOrder) {
  std::mt19937 random(4);
  int solved = 0;
  for (int round = 0; round < 500; ++round) {
    const PlacementProblem problem =
        random_problem(random, {.one_block_size = true, .remote_tiers = 3});
    ASSERT_TRUE(has_one_link(problem));
    const Placement placement = place_greedily(problem);
    expect_sound(problem, placement);
    // An answer in bytes exists wherever there is one in blocks, all being whole.
    const std::optional<double> least = least_cost(problem);
    ASSERT_EQ(least.has_value(), placement.missing_bytes == 0);
    solved += least.has_value() ? 1 : 0;
    for (size_t t = 1; least && t < 3; ++t) {
      int64_t used = 0;
      int64_t later = 0;
      for (size_t i = 0; i < problem.items.size(); ++i) {
        used += placement.blocks[i][t] * problem.items[i].block_bytes;
        later += placement.blocks[i][t + 1];
      }
      EXPECT_TRUE(later == 0 || used == problem.capacity_bytes[t]);
    }
  }
  EXPECT_GT(solved, 200);
}

TEST(Greedy, EqualCostsShareInProportionAndEqualItemsEvenly) {
  OperationCost cost{.lines = {{.fixed_s = 1}, {.fixed_s = 0}}};
  cost.lines[0].per_byte[0] = 1;
  cost.lines[1].per_byte[1] = 10;
  PlacementProblem problem;
  for (int i = 0; i < 6; ++i) {
    problem.items.push_back(
        {.blocks = i < 3 ? 100 : 300, .block_bytes = 10, .terms = {{1.0, cost}}});
  }
  problem.capacity_bytes = {6000, 12000};  // half must go
  const Placement placement = place_greedily(problem);
  for (int i = 0; i < 6; ++i) {
    EXPECT_NEAR(static_cast<double>(placement.blocks[static_cast<size_t>(i)][1]), i < 3 ? 50 : 150,
                1)
        << i;
  }
}

TEST(LinearProgram, EqualsGlpk) {
  std::mt19937 random(5);
  int solved = 0;
  int infeasible = 0;
  for (int round = 0; round < 3000; ++round) {
    LinearProgram program;
    const auto variables = static_cast<size_t>(whole(random, 1, 8));
    for (size_t i = 0; i < variables; ++i) {
      program.cost.push_back(whole(random, 0, 2) == 0 ? 0 : uniform(random, 0, 1));
    }
    const auto rows = whole(random, 1, 12);
    for (int64_t r = 0; r < rows; ++r) {
      LinearProgram::Row row{.factors = {}, .least = uniform(random, -1, 0.7)};
      for (size_t i = 0; i < variables; ++i) {
        row.factors.push_back(whole(random, 0, 1) == 0 ? 0 : uniform(random, -1, 1));
      }
      program.rows.push_back(std::move(row));
    }
    const std::optional<double> least = test::least_of(program);
    const std::optional<std::vector<double>> x = solve(program);
    ASSERT_EQ(x.has_value(), least.has_value()) << round;
    if (!x) {
      ++infeasible;
      continue;
    }
    ++solved;
    double cost = 0;
    for (size_t i = 0; i < variables; ++i) cost += program.cost[i] * (*x)[i];
    ASSERT_NEAR(cost, *least, 1e-6 * std::max(1.0, *least)) << round;
    for (const LinearProgram::Row& row : program.rows) {
      double value = 0;
      for (size_t i = 0; i < variables; ++i) value += row.factors[i] * (*x)[i];
      ASSERT_GE(value, row.least - 1e-6) << round;
    }
  }
  EXPECT_GT(solved, 1000);
  EXPECT_GT(infeasible, 100);
}

TEST(PlaceByProgram, EqualsTheLinearProgramOverSeveralLinks) {
  std::mt19937 random(6);
  int solved = 0;
  for (int round = 0; round < 2000; ++round) {
    Shape shape{.most_items = 6, .remote_tiers = static_cast<int>(whole(random, 2, kMaxTiers - 1))};
    shape.equal_links = false;
    PlacementProblem problem = random_problem(random, shape);
    // Blocks so small that rounding to them is no matter.
    for (PlacedItem& item : problem.items) {
      item.blocks *= item.block_bytes * 100'000;
      item.block_bytes = 1;
      for (PlacedItem::Term& term : item.terms) {
        for (CostLine& line : term.cost.lines) {
          for (double& rate : line.per_byte) rate /= 100'000;
        }
      }
    }
    for (int64_t& capacity : problem.capacity_bytes) capacity *= 100'000;
    if (problem.offload_bytes) *problem.offload_bytes *= 100'000;
    const Placement placement = place_by_program(problem);
    expect_sound(problem, placement);
    const std::optional<double> least = least_cost(problem);
    ASSERT_EQ(least.has_value(), placement.missing_bytes == 0) << round;
    if (!least) continue;
    ++solved;
    ASSERT_NEAR(cost_of_placement(problem, placement.blocks), *least, 1e-6 * std::max(1.0, *least))
        << round;
  }
  EXPECT_GT(solved, 1000);
}

TEST(PlaceByProgram, KeepsToCapacitiesInLargeBlocks) {
  std::mt19937 random(7);
  int placed = 0;
  for (int round = 0; round < 1000; ++round) {
    Shape shape{.most_blocks = 10, .remote_tiers = 2};
    shape.equal_links = false;
    const PlacementProblem problem = random_problem(random, shape);
    const Placement placement = place_by_program(problem);
    expect_sound(problem, placement);
    placed += placement.missing_bytes == 0 ? 1 : 0;
  }
  EXPECT_GT(placed, 300);
}

// Two links that complement each other: an operation that is as fast from both together as from one
// must not be placed by what a byte costs on each alone.
TEST(PlaceByProgram, KnowsThatLinksComplementEachOther) {
  OperationCost cost{.lines = {{}, {}, {}}};
  cost.lines[0].per_byte[0] = 0.1;
  cost.lines[1].per_byte[1] = 1;  // peer
  cost.lines[2].per_byte[2] = 1;  // host
  PlacementProblem problem;
  problem.items.push_back({.blocks = 1000, .block_bytes = 1, .terms = {{1.0, cost}}});
  problem.capacity_bytes = {0, 1000, 1000};
  EXPECT_FALSE(has_one_link(problem));
  const Placement placement = place_by_program(problem);
  EXPECT_NEAR(static_cast<double>(placement.blocks[0][1]), 500, 1);
  EXPECT_NEAR(static_cast<double>(placement.blocks[0][2]), 500, 1);
}

}  // namespace
}  // namespace dak
