// Which row blocks leave the local tier: the greedy algorithm over marginal cost per offloaded
// byte, and the linear program that replaces it where links are several. docs/design/placement.md
// proves what each guarantees.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "plan/cost.h"

namespace dak {

// One thing that is placed in blocks: a weight, or a layer's KV cache.
struct PlacedItem {
  int64_t blocks = 0;
  int64_t block_bytes = 0;
  // Its part of the objective: sum of weight x cost(bytes by tier).
  struct Term {
    double weight = 1;
    OperationCost cost;
    bool operator==(const Term&) const = default;
  };
  std::vector<Term> terms;

  int64_t size_bytes() const { return blocks * block_bytes; }
};

struct PlacementProblem {
  std::vector<PlacedItem> items;
  // Bytes that each tier may hold; [0] is what the budget leaves for items.
  std::vector<int64_t> capacity_bytes;
  // Offload exactly so much, to a block, instead of what is cheapest.
  std::optional<int64_t> offload_bytes = {};
};

// Blocks of each item in each tier.
using TierBlocks = std::array<int64_t, kMaxTiers>;

struct Placement {
  std::vector<TierBlocks> blocks;
  int64_t missing_bytes = 0;  // that must leave the local tier and found no room elsewhere
};

// The objective, in its own unit.
double cost_of_placement(const PlacementProblem& problem, const std::vector<TierBlocks>& blocks);

// Whether all remote tiers are one link to every item: then the greedy algorithm is exact.
bool has_one_link(const PlacementProblem& problem);

// Moves blocks out of the local tier in the order of what each byte costs, until the budget is met
// and no move gains. Equal costs share in proportion, and equal items share evenly.
// Requires has_one_link.
Placement place_greedily(const PlacementProblem& problem);

// The optimum of the linear program, rounded to blocks. For any tiers.
Placement place_by_program(const PlacementProblem& problem);

}  // namespace dak
