// The rule of ops/token_draw.h: its arithmetic, and the CPU's search against a full sort.
#include "engine/token_drawer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "support/sampling.h"

namespace dak {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr uint64_t kOne = uint64_t{1} << 40;  // weight of the most likely token

TEST(TokenDraw, WeightsAreExponentials) {
  EXPECT_EQ(draw_weight(0.0f), kOne);
  uint64_t last = kOne;
  for (float scaled = 0x1p-30f; can_be_drawn(scaled);
       scaled += scaled < 1 ? scaled / 64 : 0x1p-9f) {
    const uint64_t weight = draw_weight(scaled);
    const double wanted = std::exp(-static_cast<double>(scaled)) * 0x1p40;
    ASSERT_NEAR(static_cast<double>(weight), wanted, wanted * 0x1p-22 + 1) << scaled;
    ASSERT_LE(weight, last) << scaled;
    last = weight;
  }
  EXPECT_EQ(last, 1U);
}

TEST(TokenDraw, Gaps) {
  EXPECT_EQ(draw_gap(3, -1), 4);
  EXPECT_EQ(draw_gap(kInf, kInf), 0);
  EXPECT_EQ(draw_gap(kInf, 3e38f), kInf);
  EXPECT_TRUE(can_be_drawn(scaled_gap(0, kInf)));  // temperature 1e-45
  EXPECT_FALSE(can_be_drawn(scaled_gap(1e-30f, kInf)));
  EXPECT_FALSE(can_be_drawn(scaled_gap(draw_gap(1, kNan), 1)));
  EXPECT_FALSE(can_be_drawn(scaled_gap(draw_gap(1, -kInf), 1e-38f)));
}

TEST(TokenDraw, Shares) {
  EXPECT_EQ(least_draw_weight(0), 0U);
  EXPECT_EQ(least_draw_weight(1), kOne);
  EXPECT_EQ(least_draw_weight(0.5f), kOne / 2);
  EXPECT_EQ(least_draw_weight(1e-45f), 1U);
  EXPECT_EQ(nucleus_weight(kOne, 1e-45f), 1U);
  EXPECT_EQ(nucleus_weight(kOne + 1, 0.5f), kOne / 2 + 1);
  const uint64_t total = (uint64_t{1} << 63) - 1;
  EXPECT_LT(nucleus_weight(total, 1 - 0x1p-24f), total);
}

TEST(TokenDraw, HighProduct) {
  std::mt19937_64 random(5);
  EXPECT_EQ(high_product(~uint64_t{0}, ~uint64_t{0}), ~uint64_t{0} - 1);
  for (int i = 0; i < 1000; ++i) {
    const uint64_t a = random() >> random() % 64;
    const uint64_t b = random() >> random() % 64;
    __extension__ using Wide = unsigned __int128;
    ASSERT_EQ(high_product(a, b), static_cast<uint64_t>(static_cast<Wide>(a) * b >> 64));
  }
}

// The test vector of Splitmix64.
TEST(TokenDraw, RandomBits) {
  EXPECT_EQ(splitmix64(1234567), 6457827717110365317U);
  EXPECT_EQ(splitmix64(1234567 + kSplitmixStep), 3203168211198807973U);
  // total 2^63: half of the 64 bits' value.
  EXPECT_EQ(draw_target(uint64_t{1} << 63, 42, 2), 0x7c816738c12903b2U / 2);
}

// Targets fill [0, total) evenly over places and over seeds, and pairs of neighbours do too.
TEST(TokenDraw, TargetsAreUniform) {
  constexpr int kCells = 256;  // 16 x 16
  constexpr int kDraws = 100000;
  const auto statistic = [](auto target) {
    std::vector<int> counts(kCells);
    for (int i = 0; i < kDraws; ++i) ++counts[static_cast<size_t>(target(i) * 16 + target(i + 1))];
    double sum = 0;
    for (const int count : counts) {
      const double expected = static_cast<double>(kDraws) / kCells;
      sum += (count - expected) * (count - expected) / expected;
    }
    return (sum - (kCells - 1)) / std::sqrt(2.0 * (kCells - 1));  // near a standard normal
  };
  EXPECT_LT(std::abs(statistic([](int i) { return draw_target(16, 7, static_cast<uint64_t>(i)); })),
            4);
  EXPECT_LT(std::abs(statistic([](int i) { return draw_target(16, static_cast<uint64_t>(i), 7); })),
            4);
}

// The rule once more, with one sort and none of the bins.
TokenId by_sorting(const std::vector<float>& logits, const DrawParams& params, uint64_t index) {
  const TokenId best = most_likely(logits);
  if (params.temperature == 0) return best;
  const float largest = logits[static_cast<size_t>(best)];
  struct Entry {
    float gap;
    size_t id;
    uint64_t weight;
  };
  std::vector<Entry> entries;
  for (size_t i = 0; i < logits.size(); ++i) {
    const float gap = draw_gap(largest, logits[i]);
    const float scaled = scaled_gap(gap, 1.0f / params.temperature);
    if (can_be_drawn(scaled)) entries.push_back({gap, i, draw_weight(scaled)});
  }
  std::ranges::stable_sort(entries, {}, &Entry::gap);
  const auto cut = [&entries](size_t kept) {
    while (kept < entries.size() && entries[kept].gap == entries[kept - 1].gap) ++kept;
    entries.resize(kept);
  };
  const auto total = [&entries] {
    uint64_t sum = 0;
    for (const Entry& entry : entries) sum += entry.weight;
    return sum;
  };
  const auto k = static_cast<size_t>(params.top_k);
  if (k > 0 && k < entries.size()) cut(k);
  if (params.top_p < 1) {
    const uint64_t needed = nucleus_weight(total(), params.top_p);
    uint64_t sum = 0;
    size_t kept = 0;
    while (sum < needed) sum += entries[kept++].weight;
    cut(kept);
  }
  std::erase_if(entries,
                [&](const Entry& e) { return e.weight < least_draw_weight(params.min_p); });
  std::ranges::sort(entries, {}, &Entry::id);
  uint64_t target = draw_target(total(), params.seed, index);
  size_t i = 0;
  for (; target >= entries[i].weight; ++i) target -= entries[i].weight;
  return static_cast<TokenId>(entries[i].id);
}

TEST(TokenDrawer, DrawsWhatTheRuleSays) {
  std::mt19937 random(3);
  TokenDrawer drawer;
  for (int trial = 0; trial < 3000; ++trial) {
    const std::vector<float> logits =
        test::random_logits(random, 1 + random() % (trial % 50 == 0 ? 20000 : 300));
    const DrawParams params = test::random_draw(random);
    const uint64_t index = random() % 1000;
    ASSERT_EQ(drawer.draw(logits, params, index), by_sorting(logits, params, index))
        << "trial " << trial << ": " << logits.size() << " logits, temperature "
        << params.temperature << ", top_k " << params.top_k << ", top_p " << params.top_p
        << ", min_p " << params.min_p;
  }
}

}  // namespace
}  // namespace dak
