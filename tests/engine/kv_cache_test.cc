#include "engine/kv_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <random>
#include <set>

#include "base/error.h"
#include "support/throws_error.h"

namespace dak {
namespace {

ModelConfig config() { return {.layers = 3, .heads = 4, .kv_heads = 2, .head_size = 8}; }

TEST(KvCache, HandsOutPagesThatDoNotOverlap) {
  const auto arena = make_cpu_arena({.name = "local"});
  KvCache cache(config(), DType::kF16, 10 * kPageTokens, *arena);
  EXPECT_EQ(arena->used_bytes(), KvCache::size_bytes(config(), DType::kF16, 10 * kPageTokens));
  KvHold a;
  KvHold b;
  cache.reserve(a, 1);
  cache.reserve(b, 2 * kPageTokens + 1);
  cache.reserve(a, kPageTokens + 1);
  cache.reserve(a, kPageTokens + 2);  // no new page
  EXPECT_EQ(a.page_count(), 2);
  EXPECT_EQ(b.page_count(), 3);
  std::set<std::byte*> starts;
  for (const KvHold* hold : {&a, &b}) {
    for (const auto& layer : hold->pages) {
      for (const KvPage& page : layer) EXPECT_TRUE(starts.insert(page.data).second);
    }
  }
  EXPECT_EQ(starts.size(), 15u);
  const int64_t page_bytes = 2 * 2 * kPageTokens * 8 * 2;
  for (auto it = std::next(starts.begin()); it != starts.end(); ++it) {
    EXPECT_GE(*it - *std::prev(it), page_bytes);
  }
}

TEST(KvCache, AFailedReservationChangesNothing) {
  const auto arena = make_cpu_arena({.name = "local"});
  KvCache cache(config(), DType::kF32, 2 * kPageTokens, *arena);
  KvHold hold;
  cache.reserve(hold, kPageTokens);
  EXPECT_TRUE(test::throws_error(ErrorCode::kResourceExhausted,
                                 "KV cache: has room for 64 more tokens, 128 are needed",
                                 [&] { cache.reserve(hold, 3 * kPageTokens); }));
  EXPECT_EQ(hold.page_count(), 1);
  EXPECT_EQ(cache.free_tokens(), kPageTokens);
  cache.release(hold);
  EXPECT_EQ(cache.free_tokens(), 2 * kPageTokens);
  cache.reserve(hold, 2 * kPageTokens);
}

// Two tiers of plain memory, and pages that say whose they are.
class TieredKvCache : public testing::Test {
 protected:
  static constexpr int64_t kPages = 8;
  static constexpr int64_t kPageBytes = 2 * 2 * kPageTokens * 8 * 2;

  KvCache make(double ratio) {
    const std::array arenas{local_.get(), host_.get()};
    return {config(), DType::kF16, uniform_kv_room(3, kPages, ratio), arenas};
  }
  // Fills the pages that are new since the last call.
  void write(KvHold& hold, int id) {
    int64_t& done = written_[&hold];
    for (size_t layer = 0; layer < hold.pages.size(); ++layer) {
      for (int64_t page = done; page < hold.page_count(); ++page) {
        std::memset(hold.pages[layer][static_cast<size_t>(page)].data, mark(id, layer, page),
                    kPageBytes);
      }
    }
    done = hold.page_count();
  }
  void forget(KvHold& hold) { written_.erase(&hold); }
  static void check(const KvHold& hold, int id) {
    for (size_t layer = 0; layer < hold.pages.size(); ++layer) {
      for (int64_t page = 0; page < hold.page_count(); ++page) {
        const std::byte* data = hold.pages[layer][static_cast<size_t>(page)].data;
        const auto expected = static_cast<std::byte>(mark(id, layer, page));
        ASSERT_TRUE(
            std::all_of(data, data + kPageBytes, [&](std::byte b) { return b == expected; }))
            << "hold " << id << ", layer " << layer << ", page " << page;
      }
    }
  }
  static int mark(int id, size_t layer, int64_t page) {
    return (id * 61 + static_cast<int>(layer) * 17 + static_cast<int>(page) * 5 + 1) & 0xff;
  }

  std::unique_ptr<Arena> local_ = make_cpu_arena({.name = "local"});
  std::unique_ptr<Arena> host_ = make_cpu_arena({.name = "host"});
  std::map<const KvHold*, int64_t> written_;
};

TEST_F(TieredKvCache, NewTokensAreLocalAndTheOldestLeave) {
  KvCache cache = make(0.75);
  KvHold hold;
  for (int64_t pages = 1; pages <= kPages; ++pages) {
    cache.reserve(hold, pages * kPageTokens);
    write(hold, 1);
    check(hold, 1);
    for (const auto& layer : hold.pages) {
      for (int64_t page = 0; page < pages; ++page) {
        EXPECT_EQ(layer[static_cast<size_t>(page)].tier, page >= pages - 2 ? 0 : 1)
            << "page " << page << " of " << pages;
      }
    }
  }
  EXPECT_EQ(cache.free_tokens(), 0);
  EXPECT_EQ(KvCache::pages_in(hold, 1), 3 * 6);
}

TEST_F(TieredKvCache, SequencesShareTheLocalTier) {
  KvCache cache = make(0.5);
  KvHold a;
  KvHold b;
  cache.reserve(a, 4 * kPageTokens);
  write(a, 1);
  cache.reserve(b, 4 * kPageTokens);
  write(b, 2);
  check(a, 1);
  check(b, 2);
  EXPECT_EQ(KvCache::pages_in(a, 0), 3 * 2);
  EXPECT_EQ(KvCache::pages_in(b, 0), 3 * 2);
  cache.release(a);
  EXPECT_EQ(cache.rebalance(4), 4);
  EXPECT_EQ(KvCache::pages_in(b, 0), 3 * 2 + 4);
  EXPECT_EQ(cache.rebalance(100), 2);
  EXPECT_EQ(KvCache::pages_in(b, 1), 0);
  EXPECT_EQ(cache.rebalance(100), 0);
  check(b, 2);
}

// Of a sequence whose tokens are written, all but the last page leave before the next one's.
TEST_F(TieredKvCache, PagesLeaveRunByRun) {
  KvCache cache = make(0.5);
  KvHold a;
  KvHold b;
  cache.reserve(a, 2 * kPageTokens);
  cache.reserve(b, 2 * kPageTokens);
  a.tokens = b.tokens = 2 * kPageTokens;
  write(a, 1);
  write(b, 2);
  KvHold c;
  cache.reserve(c, kPageTokens);  // the first of the two, then whoever has most
  EXPECT_EQ(KvCache::pages_in(a, 1) + KvCache::pages_in(b, 1), 3);
  cache.release(c);
  cache.release(b);
  cache.reserve(a, 4 * kPageTokens);
  a.tokens = 4 * kPageTokens;
  write(a, 1);
  cache.rebalance(0);  // between two passes
  cache.reserve(c, kPageTokens);
  cache.reserve(c, 3 * kPageTokens);
  write(c, 3);
  EXPECT_EQ(KvCache::pages_in(a, 0), 3) << "the last page of the run that was leaving stays";
  EXPECT_EQ(KvCache::pages_in(c, 0), 3 * 3);
  check(a, 1);
  check(c, 3);
}

TEST_F(TieredKvCache, WorksWithOnePageAndWithNoneInATier) {
  for (const double ratio : {0.0, 7.0 / 8, 1.0}) {
    KvCache cache = make(ratio);
    written_.clear();
    KvHold a;
    KvHold b;
    cache.reserve(a, 3 * kPageTokens);
    write(a, 1);
    cache.reserve(b, 5 * kPageTokens);
    write(b, 2);
    check(a, 1);
    check(b, 2);
    EXPECT_EQ(KvCache::pages_in(a, 0) + KvCache::pages_in(b, 0),
              3 * std::llround((1 - ratio) * kPages));
    KvHold c;
    EXPECT_TRUE(test::throws_error(ErrorCode::kResourceExhausted,
                                   "KV cache: has room for 0 more tokens",
                                   [&] { cache.reserve(c, 1); }));
    EXPECT_EQ(c.page_count(), 0);
    check(a, 1);
  }
}

TEST_F(TieredKvCache, HoldsAndCachesMayEndInAnyOrder) {
  KvHold outlives;
  {
    KvCache cache = make(0.5);
    cache.reserve(outlives, kPageTokens);
    {
      KvHold short_lived;
      cache.reserve(short_lived, 7 * kPageTokens);
    }
    EXPECT_EQ(cache.free_tokens(), 7 * kPageTokens);
  }
}

TEST_F(TieredKvCache, RandomUseLosesNothing) {
  std::mt19937 random(5);
  for (int round = 0; round < 20; ++round) {
    KvCache cache = make(static_cast<double>(random() % 9) / 8);
    std::array<KvHold, 3> holds;
    written_.clear();
    for (int i = 0; i < 200; ++i) {
      const auto id = random() % holds.size();
      KvHold& hold = holds[id];
      const auto what = random() % 8;
      if (what == 0) {
        cache.release(hold);
        forget(hold);
      } else if (what < 4) {
        const int64_t tokens = (hold.page_count() + 1) * kPageTokens;
        if (cache.free_tokens() > 0) {
          cache.reserve(hold, tokens);
          write(hold, static_cast<int>(id));
        } else {
          EXPECT_TRUE(test::throws_error(ErrorCode::kResourceExhausted,
                                         "KV cache: has room for 0 more tokens",
                                         [&] { cache.reserve(hold, tokens); }));
        }
      } else if (what < 7 && hold.page_count() > 0) {
        const int64_t version = hold.version;
        const bool moved = cache.move(hold, random() % 3, random() % hold.page_count(),
                                      static_cast<TierIndex>(random() % 2));
        EXPECT_EQ(hold.version != version, moved);
      } else {
        cache.rebalance(random() % 5);
      }
      std::set<const std::byte*> places;
      int64_t pages = 0;
      for (size_t h = 0; h < holds.size(); ++h) {
        check(holds[h], static_cast<int>(h));
        pages += holds[h].page_count();
        for (const auto& layer : holds[h].pages) {
          for (const KvPage& page : layer) EXPECT_TRUE(places.insert(page.data).second);
        }
      }
      ASSERT_EQ(cache.free_tokens(), (kPages - pages) * kPageTokens);
    }
  }
}

}  // namespace
}  // namespace dak
