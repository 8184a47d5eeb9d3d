#include "engine/kv_cache.h"

#include <gtest/gtest.h>

#include <set>

#include "base/error.h"

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
  EXPECT_EQ(a.page_ids.size(), 2u);
  EXPECT_EQ(b.page_ids.size(), 3u);
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
  EXPECT_THROW(cache.reserve(hold, 3 * kPageTokens), Error);
  EXPECT_EQ(hold.page_ids.size(), 1u);
  EXPECT_EQ(cache.free_tokens(), kPageTokens);
  cache.release(hold);
  EXPECT_EQ(cache.free_tokens(), 2 * kPageTokens);
  cache.reserve(hold, 2 * kPageTokens);
}

}  // namespace
}  // namespace dak
