#include "kernels/gemm_schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <span>

#include "base/error.h"
#include "support/throws_error.h"

namespace dak {
namespace {

TieredTensor weight_of(int64_t rows, int64_t cols, const std::vector<TierIndex>& tiers) {
  TieredTensor tensor{.name = "w", .dtype = DType::kBF16, .rows = rows, .cols = cols, .blocks = {}};
  for (size_t i = 0; i < static_cast<size_t>(row_blocks_of(rows)); ++i) {
    // Never read: only addresses count.
    tensor.blocks.push_back(
        {reinterpret_cast<std::byte*>(4096 * (i + 1)), tiers[i % tiers.size()]});
  }
  return tensor;
}

const std::vector<std::vector<TierIndex>> kPlacements = {
    {0}, {1}, {0, 0, 0, 0, 0, 0, 1}, {0, 1}, {1, 1, 0}, {0, 1, 2}, {2, 1, 1, 2, 0, 3}};

TEST(GemmSchedule, HasEveryRowBlockOnceRemoteOnesFirst) {
  for (const auto& tiers : kPlacements) {
    for (const int64_t rows : {1, 64, 65, 640, 5000}) {
      const TieredTensor weight = weight_of(rows, 2100, tiers);
      const GemmSchedule schedule = make_gemm_schedule(weight);
      EXPECT_EQ(schedule.blocks.size() % kGroupBlocks, 0U);
      std::set<int32_t> seen;
      for (size_t i = 0; i < schedule.blocks.size(); ++i) {
        const GemmBlock& block = schedule.blocks[i];
        if (block.index < 0) {
          EXPECT_EQ(block.data, nullptr);
          continue;
        }
        const RowBlock& source = weight.blocks[static_cast<size_t>(block.index)];
        EXPECT_TRUE(seen.insert(block.index).second);
        EXPECT_EQ(block.data, source.data);
        EXPECT_EQ(block.tier, source.tier);
        const bool remote = static_cast<int>(i) < schedule.remote_blocks;
        EXPECT_EQ(block.remote, remote ? static_cast<int32_t>(i) : -1);
        EXPECT_EQ(source.tier > 0, remote);
      }
      EXPECT_EQ(seen.size(), weight.blocks.size());
      EXPECT_EQ(schedule.traffic.total_bytes(), std::ssize(weight.blocks) * weight.block_bytes());
    }
  }
}

TEST(GemmSchedule, FetchesEverySegmentOnceByItsTier) {
  for (const auto& tiers : kPlacements) {
    const GemmSchedule schedule = make_gemm_schedule(weight_of(3000, 2100, tiers));
    EXPECT_EQ(schedule.segments, 3);  // 33 chunks
    std::set<std::pair<int32_t, int32_t>> seen;
    for (size_t tier = 1; tier < kMaxTiers; ++tier) {
      for (int i = schedule.fetch_begin[tier]; i < schedule.fetch_end[tier]; ++i) {
        const GemmFetch& fetch = schedule.fetches[static_cast<size_t>(i)];
        EXPECT_EQ(schedule.blocks[static_cast<size_t>(fetch.block)].tier, static_cast<int>(tier));
        EXPECT_TRUE(seen.insert({fetch.block, fetch.segment}).second);
      }
    }
    EXPECT_EQ(seen.size(), schedule.fetches.size());
    EXPECT_EQ(seen.size(), static_cast<size_t>(schedule.remote_blocks * schedule.segments));
  }
}

TEST(GemmSchedule, EarlyFetchesNeedNobodysSlot) {
  for (const auto& tiers : kPlacements) {
    const GemmSchedule schedule = make_gemm_schedule(weight_of(3000, 2100, tiers));
    for (size_t tier = 1; tier < kMaxTiers; ++tier) {
      const auto all =
          std::span(schedule.fetches)
              .subspan(static_cast<size_t>(schedule.fetch_begin[tier]),
                       static_cast<size_t>(schedule.fetch_end[tier] - schedule.fetch_begin[tier]));
      for (const int slots : {0, 1, 8, 13, 1000}) {
        const auto early = static_cast<size_t>(early_fetches(all, slots));
        for (size_t i = 0; i < early; ++i) EXPECT_LT(all[i].block, slots);
        if (early < all.size()) {
          EXPECT_GE(all[early].block, slots);
        }
        EXPECT_TRUE(slots < 1000 || early == all.size());
      }
    }
  }
}

TEST(GemmSchedule, OrdersHaveEveryGroupOnce) {
  for (const GemmOrder order : {GemmOrder::kSpread, GemmOrder::kFirst, GemmOrder::kLast}) {
    for (const int groups : {1, 7, 40, 224}) {
      for (const int remote : {0, 1, groups / 3, groups}) {
        for (const int at_once : {1, 5, 33, 500}) {
          const GemmOrdering ordering = order_groups(groups, remote, at_once, order);
          std::vector<int32_t> taken;
          int32_t last_remote = -1;
          for (int32_t i = 0; i < groups; ++i) {
            taken.push_back(group_at(ordering, i));
            if (taken.back() >= remote) continue;
            EXPECT_EQ(taken.back(), last_remote + 1);  // in the order of their copies
            last_remote = taken.back();
          }
          if (order == GemmOrder::kSpread && remote < groups && remote > 0) {
            EXPECT_EQ(taken.front(), remote);  // local work while the first remote bytes come
          }
          std::ranges::sort(taken);
          for (int32_t i = 0; i < groups; ++i) EXPECT_EQ(taken[static_cast<size_t>(i)], i);
        }
      }
    }
  }
}

// Readers wait for room, clusters for what is read, each in their own order: that must end.
struct Progress {
  const GemmSchedule& schedule;
  GemmOrdering ordering;
  int clusters;
  int token_groups;
  int slots;
  std::vector<int> next_fetch = std::vector<int>(kMaxTiers);
  std::vector<int> filled = {};    // segments of each remote row block
  std::vector<int> released = {};  // token tiles
  std::vector<int> tile = {};      // of each cluster

  // Kernels ahead have made `part` of the fetches that need nobody's slot.
  void fetch_early(double part) {
    filled.resize(static_cast<size_t>(schedule.remote_blocks));
    for (size_t tier = 1; tier < kMaxTiers; ++tier) {
      const auto all =
          std::span(schedule.fetches)
              .subspan(static_cast<size_t>(schedule.fetch_begin[tier]),
                       static_cast<size_t>(schedule.fetch_end[tier] - schedule.fetch_begin[tier]));
      next_fetch[tier] = static_cast<int>(part * early_fetches(all, slots));
      for (const GemmFetch& fetch : all.first(static_cast<size_t>(next_fetch[tier]))) {
        ++filled[static_cast<size_t>(fetch.block)];
      }
    }
  }
  bool fetch() {
    bool moved = false;
    for (size_t tier = 1; tier < kMaxTiers; ++tier) {
      int& at = next_fetch[tier];
      while (schedule.fetch_begin[tier] + at < schedule.fetch_end[tier]) {
        const GemmFetch& fetch =
            schedule.fetches[static_cast<size_t>(schedule.fetch_begin[tier] + at)];
        if (fetch.block >= slots &&
            released[static_cast<size_t>(fetch.block - slots)] < token_groups) {
          break;
        }
        ++filled[static_cast<size_t>(fetch.block)];
        ++at;
        moved = true;
      }
    }
    return moved;
  }
  bool multiply() {
    const int groups = static_cast<int>(schedule.blocks.size()) / kGroupBlocks;
    bool moved = false;
    for (int c = 0; c < clusters; ++c) {
      int& at = tile[static_cast<size_t>(c)];
      const int index = c + at * clusters;
      if (index >= groups * token_groups) continue;
      const int group = group_at(ordering, index / token_groups);
      bool ready = true;
      for (int b = group * kGroupBlocks; b < (group + 1) * kGroupBlocks; ++b) {
        ready = ready && (b >= schedule.remote_blocks ||
                          filled[static_cast<size_t>(b)] == schedule.segments);
      }
      if (!ready) continue;
      for (int b = group * kGroupBlocks; b < (group + 1) * kGroupBlocks; ++b) {
        if (b < schedule.remote_blocks) ++released[static_cast<size_t>(b)];
      }
      ++at;
      moved = true;
    }
    return moved;
  }
  bool ends() {
    filled.resize(static_cast<size_t>(schedule.remote_blocks));
    released.resize(static_cast<size_t>(schedule.remote_blocks));
    tile.resize(static_cast<size_t>(clusters));
    for (bool moved = true; moved;) {
      moved = fetch();
      moved = multiply() || moved;
    }
    return std::ranges::all_of(released, [&](int count) { return count == token_groups; });
  }
};

TEST(GemmSchedule, NeverWaitsForItselfInTheSmallestRing) {
  for (const auto& tiers : kPlacements) {
    const GemmSchedule schedule = make_gemm_schedule(weight_of(9000, 2100, tiers));
    const int groups = static_cast<int>(schedule.blocks.size()) / kGroupBlocks;
    for (const GemmOrder order : {GemmOrder::kSpread, GemmOrder::kFirst, GemmOrder::kLast}) {
      for (const int clusters : {1, 7, 66}) {
        for (const int token_groups : {1, 3, 40, 100}) {
          for (const double early : {0.0, 0.5, 1.0}) {
            Progress progress{.schedule = schedule,
                              .ordering = order_groups(groups, schedule.remote_groups,
                                                       clusters / token_groups + 1, order),
                              .clusters = clusters,
                              .token_groups = token_groups,
                              .slots = static_cast<int>(kGemmLeastSlots)};
            progress.fetch_early(early);
            EXPECT_TRUE(progress.ends()) << clusters << " " << token_groups << " " << early;
          }
        }
      }
    }
  }
}

TEST(GemmSchedule, RefusesWhatIsInconsistent) {
  TieredTensor weight = weight_of(128, 128, {0, 1});
  weight.blocks.pop_back();
  EXPECT_TRUE(test::throws_error(ErrorCode::kInvalidArgument,
                                 "row blocks '1': contradict its number of rows",
                                 [&] { make_gemm_schedule(weight); }));
  weight = weight_of(128, 128, {0, 1});
  weight.dtype = DType::kF32;
  EXPECT_TRUE(test::throws_error(ErrorCode::kInvalidArgument, "dtype 'f32': must be bf16 or f16",
                                 [&] { make_gemm_schedule(weight); }));
  weight = weight_of(128, 128, {0, 1});
  weight.blocks[1].data = nullptr;
  EXPECT_TRUE(test::throws_error(ErrorCode::kInvalidArgument, "row block: has no address",
                                 [&] { make_gemm_schedule(weight); }));
}

}  // namespace
}  // namespace dak
