#include "cli/bench_stats.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/throws_error.h"

namespace dak {
namespace {

TEST(BenchStats, MedianOfOddAndEvenCounts) {
  EXPECT_DOUBLE_EQ(summarise({5, 1, 3}).median, 3);
  EXPECT_DOUBLE_EQ(summarise({4, 1, 3, 2}).median, 2.5);
  EXPECT_DOUBLE_EQ(summarise({7}).median, 7);
}

TEST(BenchStats, LeastAndMost) {
  const Summary summary = summarise({5, 1, 3, 9});
  EXPECT_EQ(summary.count, 4);
  EXPECT_DOUBLE_EQ(summary.min, 1);
  EXPECT_DOUBLE_EQ(summary.max, 9);
}

TEST(BenchStats, QuantilesLieBetweenNeighbours) {
  const std::vector<double> sorted{0, 10, 20, 30, 40};
  EXPECT_DOUBLE_EQ(quantile_of(sorted, 0), 0);
  EXPECT_DOUBLE_EQ(quantile_of(sorted, 0.1), 4);
  EXPECT_DOUBLE_EQ(quantile_of(sorted, 0.9), 36);
  EXPECT_DOUBLE_EQ(quantile_of(sorted, 1), 40);
}

TEST(BenchStats, SpreadIsPercentOfTheMedian) {
  EXPECT_DOUBLE_EQ(summarise({0, 10, 20, 30, 40}).spread_percent, 160);
  EXPECT_DOUBLE_EQ(summarise({2, 2, 2}).spread_percent, 0);
}

// A single outlier of many moves neither the median nor the spread; the most shows it.
TEST(BenchStats, AnOutlierShowsInTheMostOnly) {
  std::vector<double> values(100, 1.0);
  values[50] = 100;
  const Summary summary = summarise(values);
  EXPECT_DOUBLE_EQ(summary.median, 1);
  EXPECT_DOUBLE_EQ(summary.spread_percent, 0);
  EXPECT_DOUBLE_EQ(summary.max, 100);
}

TEST(BenchStats, NoValuesIsABug) {
  EXPECT_TRUE(
      test::throws_error(ErrorCode::kInternal, "a quantile of no values", [&] { summarise({}); }));
}

}  // namespace
}  // namespace dak
