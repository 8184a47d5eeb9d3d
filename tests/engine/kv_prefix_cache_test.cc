#include "engine/kv_prefix_cache.h"

#include <gtest/gtest.h>

#include <array>
#include <numeric>

#include "base/error.h"
#include "support/throws_error.h"

namespace dak {
namespace {

constexpr int64_t kPages = 8;

std::vector<TokenId> tokens_of(int64_t count, TokenId first = 0) {
  std::vector<TokenId> tokens(static_cast<size_t>(count));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

class PrefixCache : public testing::Test {
 protected:
  struct Sequence {
    std::unique_ptr<KvPrefixCache::Place> place;
    KvHold hold;
  };

  // Finds what it can of `tokens`, writes the rest; returns what it found.
  int64_t run(Sequence& s, const std::string& scope, const std::vector<TokenId>& tokens) {
    s.place = prefixes_.enter(scope);
    const int64_t found = prefixes_.adopt(*s.place, s.hold, tokens);
    cache_.reserve(s.hold, std::ssize(tokens));
    s.hold.tokens = std::ssize(tokens);
    prefixes_.keep(*s.place, s.hold, tokens);
    return found;
  }
  // What there is of `tokens`, no more.
  int64_t found(const std::vector<TokenId>& tokens) {
    Sequence s;
    s.place = prefixes_.enter("");
    const int64_t tokens_found = prefixes_.adopt(*s.place, s.hold, tokens);
    end(s);
    return tokens_found;
  }
  void end(Sequence& s) {
    s.place.reset();
    cache_.release(s.hold);
  }

  std::unique_ptr<Arena> local_ = make_cpu_arena({.name = "local"});
  std::unique_ptr<Arena> host_ = make_cpu_arena({.name = "host"});
  std::array<Arena*, 2> arenas_{local_.get(), host_.get()};
  KvCache cache_{{.layers = 2, .heads = 1, .kv_heads = 1, .head_size = 8},
                 DType::kF16,
                 uniform_kv_room(2, kPages, 0.5),
                 arenas_};
  KvPrefixCache prefixes_{cache_};
};

TEST_F(PrefixCache, WholePagesAreSharedWhileInUseAndAfterwards) {
  const auto tokens = tokens_of(2 * kPageTokens + 10);
  Sequence a;
  Sequence b;
  EXPECT_EQ(run(a, "", tokens), 0);
  EXPECT_EQ(run(b, "", tokens), 2 * kPageTokens);
  EXPECT_EQ(cache_.free_pages(), kPages - 4);
  EXPECT_EQ(b.hold.pages[0][1].data, a.hold.pages[0][1].data);
  EXPECT_NE(b.hold.pages[0][2].data, a.hold.pages[0][2].data) << "a page that is written is shared";
  EXPECT_EQ(a.hold.sole_pages(), 1);
  end(a);
  EXPECT_EQ(b.hold.sole_pages(), 3);
  EXPECT_EQ(cache_.cold_pages(), 0);
  end(b);
  EXPECT_EQ(cache_.cold_pages(), 2);
  EXPECT_EQ(cache_.free_pages(), kPages - 2);
  EXPECT_EQ(run(a, "", tokens), 2 * kPageTokens);
  end(a);
}

TEST_F(PrefixCache, OnlyTheSameTokensAfterTheSameTokensAreFound) {
  const auto tokens = tokens_of(3 * kPageTokens);
  Sequence a;
  Sequence b;
  run(a, "", tokens);
  auto other = tokens;
  other[kPageTokens + 5] = 99999;
  EXPECT_EQ(run(b, "", other), kPageTokens);
  end(b);
  EXPECT_EQ(run(b, "another scope", tokens), 0);
  end(b);
  EXPECT_EQ(run(b, "", tokens_of(kPageTokens - 1)), 0) << "less than a page";
  end(b);
  // The second page's tokens as the first.
  EXPECT_EQ(run(b, "", {tokens.begin() + kPageTokens, tokens.end()}), 0);
  end(a);
  end(b);
}

TEST_F(PrefixCache, TheLongestUnusedPageIsGivenUpFirstAndTheEndBeforeTheBeginning) {
  const auto first = tokens_of(3 * kPageTokens, 0);
  const auto second = tokens_of(3 * kPageTokens, 1000);
  Sequence a;
  run(a, "", first);
  end(a);
  run(a, "", second);
  end(a);
  run(a, "", {first.begin(), first.begin() + kPageTokens});  // uses the first page of `first`
  end(a);
  EXPECT_EQ(cache_.free_pages(), 2);
  EXPECT_EQ(prefixes_.pages(), 6);
  Sequence b;
  run(b, "", tokens_of(5 * kPageTokens, 5000));  // three pages too many
  EXPECT_EQ(prefixes_.pages(), 8);
  end(b);
  EXPECT_EQ(found(first), kPageTokens);
  EXPECT_EQ(found(second), 2 * kPageTokens);
}

TEST_F(PrefixCache, PagesInUseAreNeverGivenUp) {
  const auto tokens = tokens_of(5 * kPageTokens);
  Sequence a;
  run(a, "", tokens);
  Sequence b;
  EXPECT_TRUE(test::throws_error(ErrorCode::kResourceExhausted, "KV cache: has room for",
                                 [&] { run(b, "", tokens_of(4 * kPageTokens, 1000)); }));
  EXPECT_EQ(b.hold.page_count(), 0);
  EXPECT_EQ(cache_.free_pages(), 3);
  b.place.reset();
  EXPECT_EQ(run(b, "", tokens), 5 * kPageTokens);
  end(a);
  EXPECT_EQ(cache_.cold_pages(), 0);
  end(b);
}

// Two that come to the same page by themselves: the second one's stays its own.
TEST_F(PrefixCache, APageThatWasComputedTwiceIsKeptOnce) {
  const auto tokens = tokens_of(2 * kPageTokens);
  Sequence a;
  Sequence b;
  a.place = prefixes_.enter("");
  b.place = prefixes_.enter("");
  EXPECT_EQ(prefixes_.next_page(*a.place, tokens), prefixes_.next_page(*b.place, tokens));
  for (Sequence* s : {&a, &b}) {
    cache_.reserve(s->hold, 2 * kPageTokens);
    s->hold.tokens = 2 * kPageTokens;
    prefixes_.keep(*s->place, s->hold, tokens);
  }
  EXPECT_EQ(prefixes_.pages(), 2);
  EXPECT_FALSE(prefixes_.next_page(*b.place, tokens_of(5 * kPageTokens)));
  end(b);
  EXPECT_EQ(cache_.free_pages(), kPages - 2);
  end(a);
  EXPECT_EQ(cache_.cold_pages(), 2);
}

TEST_F(PrefixCache, ColdPagesMakeWayInTheLocalTierAndAreReadWhereTheyLie) {
  const auto tokens = tokens_of(4 * kPageTokens);
  Sequence a;
  run(a, "", tokens);
  EXPECT_EQ(KvCache::pages_in(a.hold, 0), 2 * 4);
  end(a);
  Sequence b;
  run(b, "", tokens_of(3 * kPageTokens, 1000));
  EXPECT_EQ(KvCache::pages_in(b.hold, 0), 2 * 3) << "cold pages kept the local tier";
  EXPECT_EQ(run(a, "", tokens), 4 * kPageTokens);
  EXPECT_EQ(KvCache::pages_in(a.hold, 1), 2 * 3) << "adopted pages were moved";
  end(a);
  end(b);
}

TEST_F(PrefixCache, SharedPagesMoveInEveryTable) {
  const auto tokens = tokens_of(2 * kPageTokens);
  Sequence a;
  Sequence b;
  run(a, "", tokens);
  run(b, "", tokens);
  const int64_t version = b.hold.version;
  ASSERT_TRUE(cache_.move(a.hold, 1, 0, 1));
  EXPECT_EQ(b.hold.pages[1][0].tier, 1);
  EXPECT_EQ(b.hold.pages[1][0].data, a.hold.pages[1][0].data);
  EXPECT_GT(b.hold.version, version);
  end(a);
  b.hold.tokens = 0;
  EXPECT_TRUE(test::throws_error(ErrorCode::kInternal, "KV cache: a shared page would be written",
                                 [&] { cache_.reserve(b.hold, 1); }));
  b.hold.tokens = 2 * kPageTokens;
  end(b);
}

TEST_F(PrefixCache, RestingSequencesLeaveTheLocalTierFirst) {
  Sequence a;
  Sequence b;
  run(a, "", tokens_of(kPageTokens));
  run(b, "", tokens_of(3 * kPageTokens, 1000));
  a.hold.resting = true;
  cache_.reserve(b.hold, 4 * kPageTokens);
  EXPECT_EQ(KvCache::pages_in(a.hold, 1), 2);
  EXPECT_EQ(KvCache::pages_in(b.hold, 1), 0);
  a.hold.resting = false;
  end(b);
  EXPECT_GT(cache_.rebalance(100), 0);
  cache_.rebalance(100);
  EXPECT_EQ(KvCache::pages_in(a.hold, 1), 0) << "cold pages kept a local place from a running one";
  end(a);
}

}  // namespace
}  // namespace dak
