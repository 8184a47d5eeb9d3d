// GLPK's exact answers for placement problems: what the planner is held to.
#pragma once

#include <optional>
#include <vector>

#include "plan/greedy.h"
#include "plan/linear_program.h"

namespace dak::test {

// Least objective with bytes divided at will; nullopt: the capacities do not suffice.
std::optional<double> least_cost(const PlacementProblem& problem);

// The same with whole blocks, by branch and bound: for a few items.
std::optional<double> least_cost_of_blocks(const PlacementProblem& problem);

// Objective of a linear program; nullopt: no solution.
std::optional<double> least_of(const LinearProgram& program);

}  // namespace dak::test
