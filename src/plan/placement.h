// What the planning policies share.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "plan/planner.h"

namespace dak {

int64_t total_bytes(const std::vector<Operand>& operands);
int64_t largest_block_bytes(const std::vector<Operand>& operands);

// Bytes of a remote tier that weights may have: what the KV cache leaves.
int64_t weight_room(const Tier& tier, TierIndex index, const FixedMemory& fixed);

// With which a plan would work that needs `local_bytes` beside the operands: at least those, and
// what the remote tiers have no room for.
int64_t smallest_budget(const PlanRequest& request, int64_t local_bytes);

// Of each tier (of tier 0: none) the share of bytes that are read from all remote tiers at once: in
// proportion to bandwidth, of which tiers on one channel have a part each. A tier of unknown
// bandwidth has none; where all are unknown, each has the same.
std::vector<double> remote_shares(std::span<const Tier> tiers);

// Gives remote blocks a tier, as far as each has room.
class RemoteTiers {
 public:
  explicit RemoteTiers(const Plan& plan);

  // From now on `place` gives every operand the same shares, remote_shares, of `remote_bytes` in
  // all; what a tier has no room for is the others', in the same proportion.
  void spread(int64_t remote_bytes);

  // Appends the spans of an operand's last `remote` blocks: spread, or the first tiers filled
  // first.
  void place(const Operand& operand, int64_t remote, std::vector<TierSpan>& spans);
  // All of it in one tier, the first that has room.
  void place_whole(const Operand& operand, std::vector<TierSpan>& spans);

  // What found no room.
  int64_t missing_bytes() const { return missing_bytes_; }

 private:
  int64_t room_for(size_t tier, int64_t block_bytes) const;
  size_t most_owed(const std::vector<int64_t>& blocks, int64_t block_bytes) const;
  std::vector<int64_t> blocks_by_share(int64_t remote, int64_t block_bytes);
  std::vector<int64_t> blocks_in_order(int64_t remote, int64_t block_bytes) const;

  std::vector<Tier> tiers_;
  std::vector<int64_t> free_bytes_;
  std::vector<double> shares_;      // empty: in order
  std::vector<double> owed_bytes_;  // what rounding has left of each share so far
  int64_t missing_bytes_ = 0;
};

// The ratio that was asked for; throws kInvalidArgument outside [0, 1].
double checked_ratio(double ratio);

// The least ratio in (0, 1] for which `bytes_at(ratio)` keeps to `budget`, to within its rounding.
// It must do so at 1.
double least_ratio(int64_t budget, const std::function<int64_t(double)>& bytes_at);

// `smallest`: of the budgets that work.
[[noreturn]] void throw_budget_too_small(const PlanRequest& request, int64_t budget,
                                         int64_t smallest);

// Throws kResourceExhausted if remote bytes found no room. `unit_bytes`: by what a plan may miss
// its budget.
void check_remote_room(const Plan& plan, int64_t missing_bytes, int64_t unit_bytes);
[[noreturn]] void throw_remote_too_small(int64_t missing_bytes, int64_t smallest_budget_bytes);

}  // namespace dak
