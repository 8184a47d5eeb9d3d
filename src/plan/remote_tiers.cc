// Remote blocks over several remote tiers.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "plan/placement.h"

namespace dak {
namespace {

constexpr double kNearlyWhole = 1e-9;

}  // namespace

std::vector<double> remote_shares(std::span<const Tier> tiers) {
  std::vector<double> shares(tiers.size());
  for (size_t i = 1; i < tiers.size(); ++i) {
    const auto on_channel = std::count_if(tiers.begin() + 1, tiers.end(), [&](const Tier& tier) {
      return tier.channel == tiers[i].channel;
    });
    const bool shared = !tiers[i].channel.empty();
    shares[i] =
        std::max(0.0, tiers[i].read_bytes_per_s) / (shared ? static_cast<double>(on_channel) : 1.0);
  }
  double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  if (sum <= 0 && shares.size() > 1) {
    std::fill(shares.begin() + 1, shares.end(), 1.0);
    sum = static_cast<double>(shares.size() - 1);
  }
  for (double& share : shares) share /= std::max(sum, kNearlyWhole);
  return shares;
}

RemoteTiers::RemoteTiers(const Plan& plan) : tiers_(plan.tiers), free_bytes_(plan.tiers.size()) {
  for (size_t i = 1; i < free_bytes_.size(); ++i) {
    free_bytes_[i] = weight_room(plan.tiers[i], static_cast<TierIndex>(i), plan.fixed);
  }
}

void RemoteTiers::spread(int64_t remote_bytes) {
  std::vector<double> open = remote_shares(tiers_);
  shares_.assign(tiers_.size(), 0);
  owed_bytes_.assign(tiers_.size(), 0);
  double left = 1;  // share that has no tier yet
  // A tier that its share would overfill gets what it has room for, and the others share the rest.
  for (bool full = true; full;) {
    full = false;
    const double sum = std::accumulate(open.begin(), open.end(), 0.0);
    for (size_t i = 1; i < open.size() && sum > 0; ++i) {
      const double room = static_cast<double>(free_bytes_[i]) /
                          static_cast<double>(std::max<int64_t>(1, remote_bytes));
      if (open[i] <= 0 || left * open[i] / sum <= room) continue;
      shares_[i] = room;
      left -= room;
      open[i] = 0;
      full = true;
      break;
    }
    if (full || sum <= 0) continue;
    for (size_t i = 1; i < open.size(); ++i) {
      if (open[i] > 0) shares_[i] = left * open[i] / sum;
    }
  }
}

int64_t RemoteTiers::room_for(size_t tier, int64_t block_bytes) const {
  return free_bytes_[tier] / block_bytes;
}

// Among the tiers with room for one more block; 0: none has.
size_t RemoteTiers::most_owed(const std::vector<int64_t>& blocks, int64_t block_bytes) const {
  size_t best = 0;
  double most = 0;
  for (size_t i = 1; i < blocks.size(); ++i) {
    const double owed = owed_bytes_[i] - static_cast<double>(blocks[i] * block_bytes);
    if (room_for(i, block_bytes) <= blocks[i] || (best != 0 && owed <= most)) continue;
    best = i;
    most = owed;
  }
  return best;
}

std::vector<int64_t> RemoteTiers::blocks_by_share(int64_t remote, int64_t block_bytes) {
  std::vector<int64_t> blocks(free_bytes_.size());
  const auto block = static_cast<double>(block_bytes);
  int64_t left = remote;
  for (size_t i = 1; i < blocks.size(); ++i) {
    owed_bytes_[i] += shares_[i] * static_cast<double>(remote) * block;
    const auto whole = static_cast<int64_t>(std::floor(owed_bytes_[i] / block + kNearlyWhole));
    blocks[i] = std::clamp<int64_t>(whole, 0, std::min(left, room_for(i, block_bytes)));
    left -= blocks[i];
  }
  for (; left > 0; --left) {
    const size_t tier = most_owed(blocks, block_bytes);
    if (tier == 0) break;
    ++blocks[tier];
  }
  for (size_t i = 1; i < blocks.size(); ++i) {
    owed_bytes_[i] -= static_cast<double>(blocks[i]) * block;
  }
  return blocks;
}

std::vector<int64_t> RemoteTiers::blocks_in_order(int64_t remote, int64_t block_bytes) const {
  std::vector<int64_t> blocks(free_bytes_.size());
  for (size_t i = 1; i < blocks.size(); ++i) {
    blocks[i] = std::min(remote, room_for(i, block_bytes));
    remote -= blocks[i];
  }
  return blocks;
}

void RemoteTiers::place(const Operand& operand, int64_t remote, std::vector<TierSpan>& spans) {
  const std::vector<int64_t> blocks = shares_.empty()
                                          ? blocks_in_order(remote, operand.block_bytes())
                                          : blocks_by_share(remote, operand.block_bytes());
  int64_t next = operand.blocks() - remote;
  for (size_t i = 1; i < blocks.size(); ++i) {
    if (blocks[i] == 0) continue;
    spans.push_back({.tier = static_cast<TierIndex>(i), .first_block = next, .blocks = blocks[i]});
    free_bytes_[i] -= blocks[i] * operand.block_bytes();
    next += blocks[i];
  }
  missing_bytes_ += (operand.blocks() - next) * operand.block_bytes();
}

void RemoteTiers::place_whole(const Operand& operand, std::vector<TierSpan>& spans) {
  for (size_t i = 1; i < free_bytes_.size(); ++i) {
    if (free_bytes_[i] < operand.size_bytes()) continue;
    free_bytes_[i] -= operand.size_bytes();
    spans.push_back(
        {.tier = static_cast<TierIndex>(i), .first_block = 0, .blocks = operand.blocks()});
    return;
  }
  missing_bytes_ += operand.size_bytes();
}

}  // namespace dak
