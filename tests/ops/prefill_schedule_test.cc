// The plan of attention with many query rows, and that following it always ends.
#include "ops/cuda/prefill_schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "ops/cuda/kv_layout.h"
#include "ops/cuda/prefill_units.h"

namespace dak::cuda {
namespace {

struct Part {
  int64_t past;
  int64_t rows;
};
using Placement = TierIndex (*)(int64_t page);
const std::vector<Placement> kPlacements = {
    [](int64_t) -> TierIndex { return 0; }, [](int64_t) -> TierIndex { return 1; },
    [](int64_t page) -> TierIndex { return page % 3 == 0; },
    [](int64_t page) -> TierIndex { return static_cast<TierIndex>(page * 7919 % 4); },
    [](int64_t page) -> TierIndex { return page < 140; }};
const std::vector<std::vector<Part>> kBatches = {{{0, 16}},
                                                 {{0, 8192}},
                                                 {{0, 8193}},
                                                 {{5, 15}, {100, 300}, {0, 1}},
                                                 {{20000, 500}, {0, 700}, {8000, 192}, {8000, 193}},
                                                 {{16383, 40}, {30000, 20}}};

struct Planned {
  AttentionConfig config;
  std::vector<std::vector<KvPage>> pages;
  std::vector<KvSequence> sequences;
  PrefillSchedule schedule;
  std::vector<PrefillFetches> fetches;
  std::vector<int32_t> fetch_ends;
  PrefillPlan plan;

  Planned(int64_t heads, int64_t kv_heads, int64_t window, const std::vector<Part>& parts,
          Placement placement)
      : config{.heads = heads, .kv_heads = kv_heads, .head_size = 64, .window = window} {
    pages.reserve(parts.size());
    int64_t row = 0;
    for (const Part& part : parts) {
      pages.emplace_back();
      for (int64_t i = 0; i < kv_pages_for(part.past + part.rows); ++i) {
        pages.back().push_back({.data = nullptr, .tier = placement(i)});
      }
      sequences.push_back(
          {.pages = pages.back(), .past = part.past, .first_row = row, .rows = part.rows});
      row += part.rows;
    }
    schedule = make_prefill_schedule(config, sequences);
    fetches = schedule.all_fetches();
    fetch_ends = schedule.all_fetch_ends();
    plan = {.sequences = schedule.sequences.data(),
            .segments = schedule.segments.data(),
            .page_ranks = schedule.page_ranks.data(),
            .remote_pages = schedule.remote_pages.data(),
            .fetch_ranks = schedule.fetch_ranks.data(),
            .fetches = fetches.data(),
            .fetch_ends = fetch_ends.data(),
            .sequence_count = static_cast<int32_t>(schedule.sequences.size()),
            .segment_count = static_cast<int32_t>(schedule.segments.size()),
            .units = static_cast<int32_t>(schedule.units),
            .state_slots = static_cast<int32_t>(schedule.states),
            .kv_heads = static_cast<int32_t>(kv_heads),
            .group = static_cast<int32_t>(heads / kv_heads),
            .window = static_cast<int32_t>(window)};
  }
  int64_t first_seen(int64_t token) const {
    return config.window > 0 ? std::max<int64_t>(0, token + 1 - config.window) : 0;
  }
};

template <class Use>
void with_plans(const Use& use) {
  for (const auto& [heads, kv_heads] :
       {std::pair<int64_t, int64_t>{4, 4}, {14, 2}, {8, 1}, {80, 40}}) {
    for (const int64_t window : {0, 1, 1000, 9000}) {
      for (const auto& batch : kBatches) {
        for (const Placement placement : kPlacements) {
          use(Planned(heads, kv_heads, window, batch, placement));
        }
      }
    }
  }
}

TEST(PrefillSchedule, UnitsOfATileFollowEachOtherOverAllThatItSees) {
  with_plans([](const Planned& p) {
    struct Tile {
      int32_t begin;
      int32_t end;
      bool ended;
    };
    std::map<std::tuple<int32_t, int32_t, int32_t>, Tile> tiles;  // row, KV head, index
    for (int32_t i = 0; i < p.plan.units; ++i) {
      const PrefillUnit unit = find_unit(p.plan, i);
      ASSERT_EQ(unit.valid, 1);
      ASSERT_LT(unit.begin, unit.end);
      Tile& tile = tiles[{unit.first_row, unit.kv_head, unit.first_index}];
      if (unit.is_first != 0) {
        tile = {.begin = unit.begin, .end = unit.end, .ended = false};
      } else {
        ASSERT_EQ(unit.begin * kPrefillTokens % kPrefillSegmentTokens, 0);
        ASSERT_EQ(unit.begin, tile.end);
        ASSERT_FALSE(tile.ended);
        tile.end = unit.end;
      }
      ASSERT_LE(unit.begin / (kPrefillSegmentTokens / kPrefillTokens),
                (unit.end - 1) / (kPrefillSegmentTokens / kPrefillTokens));
      tile.ended = unit.is_last != 0;
    }
    EXPECT_EQ(find_unit(p.plan, p.plan.units).valid, 0);
    size_t expected = 0;
    for (const KvSequence& s : p.sequences) {
      if (s.rows < kPrefillLeastRows) continue;
      for (int32_t head = 0; head < p.plan.kv_heads; ++head) {
        for (int64_t first = 0; first < s.rows * p.plan.group; first += kPrefillTileRows) {
          ++expected;
          const Tile& tile =
              tiles[{static_cast<int32_t>(s.first_row), head, static_cast<int32_t>(first)}];
          const int64_t last = std::min(first + kPrefillTileRows, s.rows * p.plan.group) - 1;
          const int64_t begin = p.first_seen(s.past + first / p.plan.group);
          EXPECT_TRUE(tile.ended);
          EXPECT_EQ(tile.begin, begin / kPrefillTokens);
          EXPECT_EQ(tile.end, (s.past + last / p.plan.group) / kPrefillTokens + 1);
        }
      }
    }
    EXPECT_EQ(tiles.size(), expected);
  });
}

TEST(PrefillSchedule, EveryRemotePageThatIsSeenIsFetchedOnceForEachKvHead) {
  with_plans([](const Planned& p) {
    std::set<int32_t> numbers;
    std::set<std::pair<int32_t, int32_t>> fetched;
    for (int32_t tier = 1; tier < kMaxTiers; ++tier) {
      const int32_t end =
          p.plan.sequence_count == 0 ? 0 : p.plan.fetches[tier * p.plan.sequence_count - 1].end;
      int32_t last = -1;
      for (int32_t i = 0; i < end; ++i) {
        const PrefillItem item = find_fetch(p.plan, tier, i);
        EXPECT_GT(item.number, last);  // in the order in which they are needed
        last = item.number;
        EXPECT_TRUE(numbers.insert(item.number).second);
        EXPECT_TRUE(fetched.insert({item.table_page, item.kv_head}).second);
      }
    }
    EXPECT_EQ(std::ssize(numbers), p.schedule.items);
    if (!numbers.empty()) {
      EXPECT_EQ(*numbers.rbegin(), p.schedule.items - 1);
    }
    int64_t expected = 0;
    for (const KvSequence& s : p.sequences) {
      if (s.rows < kPrefillLeastRows) continue;
      for (int64_t page = p.first_seen(s.past) / kPageTokens; page < std::ssize(s.pages); ++page) {
        if (s.pages[static_cast<size_t>(page)].tier > 0) expected += p.config.kv_heads;
      }
    }
    EXPECT_EQ(p.schedule.items, expected);
  });
}

// Thread blocks take units in order and hold one until it is done; readers fill slots in order.
struct Following {
  const Planned& p;
  int slots;
  std::vector<int32_t> next_fetch = std::vector<int32_t>(kMaxTiers);
  std::vector<int32_t> in_slot = {};  // items that came
  std::vector<int32_t> done = {};
  std::vector<uint32_t> progress = {};
  std::vector<PrefillUnit> held = {};
  int32_t next_unit = 0;
  int32_t finished = 0;

  bool read() {
    bool moved = false;
    for (int32_t tier = 1; tier < kMaxTiers; ++tier) {
      int32_t& at = next_fetch[static_cast<size_t>(tier)];
      while (at < p.plan.fetches[tier * p.plan.sequence_count - 1].end) {
        const int32_t number = find_fetch(p.plan, tier, at).number;
        if (number >= slots) {
          const PrefillUsers users = users_of_item(p.plan, number - slots);
          if (done[static_cast<size_t>(users.counter)] < users.units) break;
        }
        in_slot[static_cast<size_t>(number % slots)] = number;
        ++at;
        moved = true;
      }
    }
    return moved;
  }
  bool can_finish(const PrefillUnit& unit) const {
    for (int32_t page = unit.begin * 2; page < unit.end * 2; ++page) {
      if (page * kPageTokens >= unit.seen) break;
      const int32_t rank = p.plan.page_ranks[unit.first_page + page];
      if (rank < 0) continue;
      const int32_t item = unit.remote_item + rank;
      if (in_slot[static_cast<size_t>(item % slots)] != item) return false;
    }
    return unit.state < 0 || progress[static_cast<size_t>(unit.state)] == unit.progress;
  }
  bool work() {
    bool moved = false;
    for (PrefillUnit& unit : held) {
      if (unit.valid == 0)
        unit = find_unit(p.plan, next_unit < p.plan.units ? next_unit++ : next_unit);
      if (unit.valid == 0 || !can_finish(unit)) continue;
      ++done[static_cast<size_t>(unit.counter)];
      if (unit.state >= 0) {
        uint32_t& at = progress[static_cast<size_t>(unit.state)];
        at = unit.is_last != 0 ? (at / kStateSteps + 1) * kStateSteps : at + 1;
      }
      unit.valid = 0;
      ++finished;
      moved = true;
    }
    return moved;
  }
  bool ends(int blocks) {
    in_slot.assign(static_cast<size_t>(slots), -1);
    done.resize(static_cast<size_t>(p.schedule.groups(p.plan.kv_heads)));
    progress.resize(static_cast<size_t>(p.schedule.states));
    held.resize(static_cast<size_t>(blocks));
    for (bool moved = true; moved;) {
      moved = read();
      moved = work() || moved;
    }
    return finished == p.plan.units;
  }
};

TEST(PrefillSchedule, NeverWaitsForItselfInTheSmallestRing) {
  with_plans([](const Planned& p) {
    if (p.plan.units == 0) return;
    for (const int blocks : {1, 7, 132, 300}) {
      // A segment's pages of one KV head fit; head size 256 would have twice as many.
      Following following{.p = p, .slots = kPrefillSegmentPages};
      EXPECT_TRUE(following.ends(blocks))
          << blocks << " blocks, " << following.finished << " of " << p.plan.units;
    }
  });
  EXPECT_GE(kPrefillRingBytes, 2 * kPrefillSegmentPages * kPageTokens * 256 * 2 * 2);
}

TEST(KvLayout, PlacesEveryUnitOnceWithoutBankConflicts) {
  for (const int units : {2, 4, 8, 10, 12, 16, 32}) {
    std::set<int> places;
    for (int token = 0; token < kPageTokens; ++token) {
      for (int unit = 0; unit < units; ++unit) {
        const int place = kv_place(token, unit, units);
        EXPECT_TRUE(places.insert(place).second);
        EXPECT_EQ(kv_token_at(place, units), token);
        // As wgmma and TMA permute: bits 4 and up of the address by bits 7 and up.
        const int width = kv_panel_units(units);
        const int plain =
            token / 8 * 8 * units + unit / width * 8 * width + token % 8 * width + unit % width;
        EXPECT_EQ(place, plain ^ (plain / 8 & (width - 1)));
      }
    }
    EXPECT_EQ(*places.rbegin(), kPageTokens * units - 1);
    for (int unit = 0; unit < units; ++unit) {
      std::set<int> banks;
      for (int token = 0; token < 8; ++token) banks.insert(kv_place(token, unit, units) % 8);
      EXPECT_EQ(banks.size(), 8U);
    }
  }
}

}  // namespace
}  // namespace dak::cuda
