// Which KV pages mode prefetch copies, and where attention finds them.
#include "ops/cuda/kv_staging.h"

#include <gtest/gtest.h>

#include <random>

namespace dak {
namespace {

TEST(KvStaging, RangesThatTouchAreOne) {
  EXPECT_EQ(joined({}), std::vector<CopyRange>());
  EXPECT_EQ(joined({{8, 12}, {0, 4}, {4, 8}, {20, 24}, {20, 24}}),
            (std::vector<CopyRange>{{0, 12}, {20, 24}}));
}

TEST(KvStaging, TheNarrowestGapsAreCopiedToo) {
  const std::vector<CopyRange> ranges{{0, 4}, {5, 8}, {20, 24}, {26, 30}, {90, 91}};
  EXPECT_EQ(at_most(ranges, 9), ranges);
  EXPECT_EQ(at_most(ranges, 5), ranges);
  EXPECT_EQ(at_most(ranges, 4), (std::vector<CopyRange>{{0, 8}, {20, 24}, {26, 30}, {90, 91}}));
  EXPECT_EQ(at_most(ranges, 2), (std::vector<CopyRange>{{0, 30}, {90, 91}}));
  EXPECT_EQ(at_most(ranges, 1), (std::vector<CopyRange>{{0, 91}}));
  const std::vector<CopyRange> even{{0, 1}, {2, 3}, {4, 5}, {6, 7}};
  for (size_t most = 1; most < 5; ++most) EXPECT_EQ(at_most(even, most).size(), most);
}

// Every page is found with its own bytes, in the buffer if it is staged.
TEST(KvStaging, WholePagesOfThePoolAreStagedAndNoOthers) {
  const AttentionConfig config{.heads = 1, .kv_heads = 1, .head_size = 8};
  const int64_t page_bytes = config.page_bytes();
  constexpr int64_t kPlaces = 12;
  std::vector<std::byte> pool(static_cast<size_t>(kPlaces * page_bytes));
  std::vector<std::byte> elsewhere(pool.size());
  std::vector<std::byte> buffer(pool.size());
  std::mt19937 random(1);
  for (int trial = 0; trial < 200; ++trial) {
    AttentionConfig seen = config;
    if (trial % 3 == 0) seen.window = 1 + static_cast<int64_t>(random() % 300);
    std::vector<std::vector<KvPage>> pages(1 + random() % 3);
    std::vector<KvSequence> sequences;
    for (std::vector<KvPage>& table : pages) {
      const auto count = static_cast<int64_t>(1 + random() % 6);
      for (int64_t i = 0; i < count; ++i) {
        const auto offset = static_cast<int64_t>(random() % kPlaces) * page_bytes;
        switch (random() % 3) {
          case 0:
            table.push_back({.data = elsewhere.data() + offset, .tier = 0});
            break;
          case 1:
            table.push_back({.data = elsewhere.data() + offset, .tier = 2});
            break;
          default:
            table.push_back({.data = pool.data() + offset, .tier = 1});
        }
      }
      const auto past = static_cast<int64_t>(random() % static_cast<uint64_t>(64 * count));
      sequences.push_back({.pages = table, .past = past, .first_row = 0, .rows = 1});
    }
    const KvPool places{.data = pool.data(), .size_bytes = std::ssize(pool)};
    const StagedKv staged = stage_kv(places, buffer.data(), seen, sequences);
    std::vector<bool> copied(kPlaces, false);
    for (const CopyRange& range : staged.ranges) {
      ASSERT_LT(range.begin, range.end);
      for (int64_t at = range.begin; at < range.end; at += page_bytes) {
        copied[static_cast<size_t>(at / page_bytes)] = true;
      }
    }
    ASSERT_EQ(staged.sequences.size(), sequences.size());
    std::vector<bool> needed(kPlaces, false);
    for (size_t s = 0; s < sequences.size(); ++s) {
      const int64_t past = sequences[s].past;
      EXPECT_EQ(staged.sequences[s].past, past);
      ASSERT_EQ(staged.sequences[s].pages.size(), sequences[s].pages.size());
      for (size_t i = 0; i < sequences[s].pages.size(); ++i) {
        const KvPage& real = sequences[s].pages[i];
        const KvPage& found = staged.sequences[s].pages[i];
        const auto end = static_cast<int64_t>(i + 1) * kPageTokens;
        const bool whole = end <= past;
        const bool visible = seen.window == 0 || end > past + 1 - seen.window;
        if (real.tier != 1 || !whole || !visible) {
          EXPECT_EQ(found.data, real.data);
          EXPECT_EQ(found.tier, real.tier);
          continue;
        }
        EXPECT_EQ(found.tier, 0);
        EXPECT_EQ(found.data - buffer.data(), real.data - pool.data());
        needed[static_cast<size_t>((real.data - pool.data()) / page_bytes)] = true;
      }
    }
    EXPECT_EQ(copied, needed);
  }
}

}  // namespace
}  // namespace dak
