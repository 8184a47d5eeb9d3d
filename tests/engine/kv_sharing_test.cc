// A KV cache whose pages are shared, kept, given up and moved at random, against what every page
// must hold: a function of its scope and of all tokens up to its end.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <map>
#include <random>
#include <set>

#include "base/error.h"
#include "engine/kv_prefix_cache.h"
#include "support/throws_error.h"

namespace dak {
namespace {

constexpr int64_t kLayers = 2;
constexpr int64_t kPages = 12;
constexpr int64_t kPageBytes = 2 * kPageTokens * 8 * 2;

struct Sequence {
  int scope = 0;
  std::vector<TokenId> tokens;  // written
  std::unique_ptr<KvPrefixCache::Place> place;
  KvHold hold;
};

class World {
 public:
  World(double ratio, uint32_t seed) : random_(seed) {
    const std::array arenas{local_.get(), host_.get()};
    cache_.emplace(ModelConfig{.layers = kLayers, .heads = 1, .kv_heads = 1, .head_size = 8},
                   DType::kF16, uniform_kv_room(kLayers, kPages, ratio), arenas);
    prefixes_.emplace(*cache_);
  }
  ~World() {
    for (Sequence& s : sequences_) end(s);
  }

  void run(int steps) {
    for (int i = 0; i < steps; ++i) {
      Sequence& s = sequences_[random_() % sequences_.size()];
      if (s.place == nullptr) {
        begin(s);
      } else if (const auto what = random_() % 16; what == 0) {
        end(s);
      } else if (what < 10) {
        extend(s);
      } else if (what < 12 && s.hold.page_count() > 0) {
        cache_->move(s.hold, random_() % kLayers, random_() % s.hold.page_count(),
                     static_cast<TierIndex>(random_() % 2));
      } else if (what < 14) {
        s.hold.resting = !s.hold.resting;
      } else {
        cache_->rebalance(random_() % 6);
      }
      check();
      if (testing::Test::HasFatalFailure()) return;
    }
  }

  int64_t found() const { return found_; }
  int64_t given_up() const { return given_up_; }

 private:
  // Few different tokens, so that sequences begin alike.
  void begin(Sequence& s) {
    s.scope = static_cast<int>(random_() % 2);
    std::vector<TokenId> prompt;
    const auto pages = random_() % 5;
    for (uint32_t page = 0; page < pages; ++page) {
      prompt.insert(prompt.end(), kPageTokens, static_cast<TokenId>(random_() % 2));
    }
    s.place = prefixes_->enter(std::to_string(s.scope));
    const int64_t found = prefixes_->adopt(*s.place, s.hold, prompt);
    found_ += found;
    s.tokens.assign(prompt.begin(), prompt.begin() + found);
  }

  void end(Sequence& s) {
    s.place.reset();
    cache_->release(s.hold);
    s.tokens.clear();
  }

  void extend(Sequence& s) {
    const int64_t past = std::ssize(s.tokens);
    // To the end of a page, as `begin` has them, or some way.
    const int64_t rest = kPageTokens - past % kPageTokens;
    const TokenId token =
        past % kPageTokens == 0 ? static_cast<TokenId>(random_() % 2) : s.tokens.back();
    const int64_t count = random_() % 2 == 0 ? rest : 1 + random_() % rest;
    const int64_t need = kv_pages_for(past + count) - s.hold.page_count();
    const int64_t kept = prefixes_->pages();
    if (need > cache_->free_pages() + cache_->cold_pages()) {
      EXPECT_TRUE(test::throws_error(ErrorCode::kResourceExhausted, "KV cache: has room for",
                                     [&] { cache_->reserve(s.hold, past + count); }));
      return;
    }
    cache_->reserve(s.hold, past + count);
    given_up_ += kept - prefixes_->pages();
    s.tokens.insert(s.tokens.end(), static_cast<size_t>(count), token);
    for (int64_t layer = 0; layer < kLayers; ++layer) {
      const int64_t page = past / kPageTokens;
      std::memset(s.hold.pages[static_cast<size_t>(layer)][static_cast<size_t>(page)].data,
                  mark(s, layer, page), kPageBytes);
    }
    s.hold.tokens = std::ssize(s.tokens);
    prefixes_->keep(*s.place, s.hold, s.tokens);
  }

  // What a page has to hold: the one that is written too is of a single token.
  static int mark(const Sequence& s, int64_t layer, int64_t page) {
    uint32_t hash = 2166136261u + static_cast<uint32_t>(s.scope * 2 + layer);
    for (int64_t p = 0; p <= page; ++p) {
      hash = (hash ^ static_cast<uint32_t>(s.tokens[static_cast<size_t>(p * kPageTokens)] + 1)) *
             16777619u;
      hash ^= hash >> 15;
    }
    return static_cast<int>(hash & 0xff);
  }

  void check() {
    std::map<const std::byte*, std::pair<int, int64_t>> places;  // scope and page of whom it is
    std::array<std::set<const std::byte*>, kLayers> used;
    for (const Sequence& s : sequences_) {
      ASSERT_GE(s.hold.page_count() * kPageTokens, std::ssize(s.tokens));
      for (size_t layer = 0; layer < s.hold.pages.size(); ++layer) {
        for (int64_t page = 0; page < kv_pages_for(std::ssize(s.tokens)); ++page) {
          const std::byte* data = s.hold.pages[layer][static_cast<size_t>(page)].data;
          const auto expected = static_cast<std::byte>(mark(s, static_cast<int64_t>(layer), page));
          ASSERT_TRUE(data[0] == expected && std::memcmp(data, data + 1, kPageBytes - 1) == 0)
              << "layer " << layer << ", page " << page;
          const auto [found, is_new] = places.emplace(data, std::pair(s.scope, page));
          ASSERT_EQ(found->second, std::pair(s.scope, page)) << "shared with another scope";
          used[layer].insert(data);
        }
      }
    }
    for (const auto& layer : used) {
      ASSERT_EQ(std::ssize(layer) + cache_->free_pages() + cache_->cold_pages(), kPages);
    }
    ASSERT_EQ(cache_->used_bytes(0) + cache_->used_bytes(1),
              kLayers * kPageBytes * (kPages - cache_->free_pages()));
  }

  std::mt19937 random_;
  std::unique_ptr<Arena> local_ = make_cpu_arena({.name = "local"});
  std::unique_ptr<Arena> host_ = make_cpu_arena({.name = "host"});
  std::optional<KvCache> cache_;
  std::optional<KvPrefixCache> prefixes_;
  std::array<Sequence, 4> sequences_;
  int64_t found_ = 0;
  int64_t given_up_ = 0;
};

TEST(KvSharing, RandomUseLosesNothingAndMixesNothingUp) {
  int64_t found = 0;
  int64_t given_up = 0;
  for (uint32_t seed = 0; seed < 50; ++seed) {
    World world(static_cast<double>(seed % 5) / 4, seed);
    world.run(400);
    found += world.found();
    given_up += world.given_up();
    if (testing::Test::HasFailure()) FAIL() << "seed " << seed;
  }
  EXPECT_GT(found, 500 * kPageTokens);
  EXPECT_GT(given_up, 500);
}

}  // namespace
}  // namespace dak
