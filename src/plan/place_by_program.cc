// Placement over several links: links of one operation complement each other, so that a greedy
// choice for one can be wrong for all (docs/design/placement.md has an example). Equal items are
// solved as one, which makes the program small.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "plan/greedy.h"
#include "plan/item_kinds.h"
#include "plan/linear_program.h"

namespace dak {
namespace {

constexpr double kTolerance = 1e-9;

// Variables: for each kind the share of a member's bytes in each remote tier, then the time of each
// of its terms.
class SharesProgram {
 public:
  SharesProgram(const PlacementProblem& problem, const std::vector<ItemKind>& kinds, int64_t need)
      : problem_(problem), kinds_(kinds), remote_(problem.capacity_bytes.size() - 1) {
    size_t variables = 0;
    for (size_t k = 0; k < kinds.size(); ++k) {
      first_.push_back(variables);
      variables += remote_ + item(k).terms.size();
      total_bytes_ += bytes_of(k);
    }
    program_.cost.resize(variables);
    find_units();
    for (size_t k = 0; k < kinds.size(); ++k) add_kind(k);
    add_totals(need);
  }

  // Shares [kind][remote tier]; empty: none keeps to the capacities.
  std::vector<std::vector<double>> shares() const {
    const std::optional<std::vector<double>> x = solve(program_);
    if (!x) return {};
    std::vector<std::vector<double>> shares;
    for (size_t k = 0; k < kinds_.size(); ++k) {
      const auto begin = x->begin() + static_cast<ptrdiff_t>(first_[k]);
      shares.emplace_back(begin, begin + static_cast<ptrdiff_t>(remote_));
    }
    return shares;
  }

 private:
  const PlacedItem& item(size_t k) const { return problem_.items[kinds_[k].members.front()]; }
  double members(size_t k) const { return static_cast<double>(kinds_[k].members.size()); }
  double bytes_of(size_t k) const { return members(k) * static_cast<double>(item(k).size_bytes()); }

  // Units that bring every number near 1: of time, and of the objective.
  void find_units() {
    for (size_t k = 0; k < kinds_.size(); ++k) {
      for (const PlacedItem::Term& term : item(k).terms) {
        double longest = 0;
        for (const CostLine& line : term.cost.lines) {
          for (const double rate : line.per_byte) {
            longest =
                std::max(longest, line.fixed_s + rate * static_cast<double>(item(k).size_bytes()));
          }
        }
        time_unit_ = std::max(time_unit_, longest);
        cost_unit_ = std::max(cost_unit_, term.weight * members(k));
      }
    }
    if (time_unit_ <= 0) time_unit_ = 1;
    if (cost_unit_ <= 0) cost_unit_ = 1;
  }

  LinearProgram::Row& new_row(double least) {
    program_.rows.push_back({.factors = std::vector<double>(program_.cost.size()), .least = least});
    return program_.rows.back();
  }

  void add_kind(size_t k) {
    const auto size = static_cast<double>(item(k).size_bytes());
    for (size_t j = 0; j < item(k).terms.size(); ++j) {
      const PlacedItem::Term& term = item(k).terms[j];
      const size_t time = first_[k] + remote_ + j;
      program_.cost[time] = term.weight * members(k) / cost_unit_;
      for (const CostLine& line : term.cost.lines) {
        LinearProgram::Row& row = new_row((line.fixed_s + line.per_byte[0] * size) / time_unit_);
        row.factors[time] = 1;
        for (size_t t = 0; t < remote_; ++t) {
          row.factors[first_[k] + t] =
              (line.per_byte[0] - line.per_byte[t + 1]) * size / time_unit_;
        }
      }
    }
    LinearProgram::Row& whole = new_row(-1);
    for (size_t t = 0; t < remote_; ++t) whole.factors[first_[k] + t] = -1;
  }

  void add_totals(int64_t need) {
    if (total_bytes_ <= 0) return;
    const auto add = [&](double sign, int64_t bytes, size_t first_tier, size_t end_tier) {
      // A little less than asked for: where all of the room is needed, rounding must not hide that
      // there is a solution.
      LinearProgram::Row& row =
          new_row(sign * static_cast<double>(bytes) / total_bytes_ - kTolerance);
      for (size_t k = 0; k < kinds_.size(); ++k) {
        for (size_t t = first_tier; t < end_tier; ++t) {
          row.factors[first_[k] + t] = sign * bytes_of(k) / total_bytes_;
        }
      }
    };
    if (need > 0) add(1, need, 0, remote_);
    for (size_t t = 0; t < remote_; ++t) add(-1, problem_.capacity_bytes[t + 1], t, t + 1);
    if (problem_.offload_bytes) add(-1, need, 0, remote_);
  }

  const PlacementProblem& problem_;
  const std::vector<ItemKind>& kinds_;
  size_t remote_;
  std::vector<size_t> first_;  // variable of each kind
  double total_bytes_ = 0;
  double time_unit_ = 0;
  double cost_unit_ = 0;
  LinearProgram program_;
};

// Whole blocks: each tier's shares summed over the items and rounded down, so that no tier holds
// more than the program gave it.
std::vector<TierBlocks> rounded(const PlacementProblem& problem, const std::vector<ItemKind>& kinds,
                                const std::vector<std::vector<double>>& shares) {
  constexpr double kRounding = 1e-7;
  std::vector<TierBlocks> blocks(problem.items.size());
  for (size_t k = 0; k < kinds.size(); ++k) {
    std::vector<double> owed(shares[k].size());
    for (const size_t member : kinds[k].members) {
      const int64_t all = problem.items[member].blocks;
      int64_t left = all;
      for (size_t t = 0; t < shares[k].size(); ++t) {
        owed[t] += shares[k][t] * static_cast<double>(all);
        const auto whole = static_cast<int64_t>(owed[t] + kRounding);
        const int64_t count = std::clamp<int64_t>(whole, 0, left);
        owed[t] -= static_cast<double>(count);
        left -= count;
        blocks[member][t + 1] = count;
      }
      blocks[member][0] = left;
    }
  }
  return blocks;
}

// What rounding left over moves block by block to where it costs least.
class Repair {
 public:
  Repair(const PlacementProblem& problem, std::vector<TierBlocks>& blocks)
      : problem_(problem), blocks_(blocks), used_(problem.capacity_bytes.size()) {
    for (size_t i = 0; i < blocks.size(); ++i) {
      for (size_t t = 0; t < used_.size(); ++t) {
        used_[t] += blocks[i][t] * problem.items[i].block_bytes;
      }
    }
  }

  // Bytes that are still to leave the local tier.
  int64_t run(int64_t need) {
    int64_t missing = need - std::accumulate(used_.begin() + 1, used_.end(), int64_t{0});
    while (missing > 0) {
      const Move move = cheapest();
      if (move.tier == 0) break;
      const int64_t bytes = problem_.items[move.item].block_bytes;
      blocks_[move.item][0] -= 1;
      blocks_[move.item][move.tier] += 1;
      used_[move.tier] += bytes;
      missing -= bytes;
    }
    return std::max<int64_t>(0, missing);
  }

 private:
  struct Move {
    size_t item = 0;
    size_t tier = 0;  // 0: there is none
    double seconds_per_byte = 0;
  };

  double cost(size_t item, const TierBlocks& blocks) const {
    TierBytes bytes{};
    for (size_t t = 0; t < bytes.size(); ++t) {
      bytes[t] = blocks[t] * problem_.items[item].block_bytes;
    }
    double seconds = 0;
    for (const PlacedItem::Term& term : problem_.items[item].terms) {
      seconds += term.weight * time_of(term.cost, bytes).seconds;
    }
    return seconds;
  }

  Move cheapest() const {
    Move best;
    for (size_t i = 0; i < blocks_.size(); ++i) {
      if (blocks_[i][0] == 0) continue;
      const int64_t block_bytes = problem_.items[i].block_bytes;
      const double before = cost(i, blocks_[i]);
      for (size_t t = 1; t < used_.size(); ++t) {
        if (used_[t] + block_bytes > problem_.capacity_bytes[t]) continue;
        TierBlocks moved = blocks_[i];
        moved[0] -= 1;
        moved[t] += 1;
        const double slope = (cost(i, moved) - before) / static_cast<double>(block_bytes);
        if (best.tier == 0 || slope < best.seconds_per_byte) best = {i, t, slope};
      }
    }
    return best;
  }

  const PlacementProblem& problem_;
  std::vector<TierBlocks>& blocks_;
  std::vector<int64_t> used_;
};

}  // namespace

Placement place_by_program(const PlacementProblem& problem) {
  int64_t need = 0;
  int64_t room = 0;
  for (const PlacedItem& item : problem.items) need += item.size_bytes();
  need = problem.offload_bytes.value_or(need - problem.capacity_bytes[0]);
  for (size_t t = 1; t < problem.capacity_bytes.size(); ++t) room += problem.capacity_bytes[t];
  const std::vector<ItemKind> kinds = kinds_of(problem.items);
  std::vector<std::vector<double>> shares =
      SharesProgram(problem, kinds, std::min(need, room)).shares();
  if (shares.empty()) {
    shares.assign(kinds.size(), std::vector<double>(problem.capacity_bytes.size() - 1));
  }
  Placement placement{.blocks = rounded(problem, kinds, shares)};
  placement.missing_bytes = Repair(problem, placement.blocks).run(need);
  return placement;
}

}  // namespace dak
