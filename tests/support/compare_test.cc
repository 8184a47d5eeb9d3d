// The comparator must fail when it should: every case here is one that a careless one lets pass.
#include "tests/support/compare.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace dak::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

bool passes(std::vector<float> result, std::vector<float> naive = {1.0f, 2.0f},
            std::vector<double> exact = {1.0, 2.0}, std::vector<double> magnitude = {1.0, 2.0}) {
  return compare(result, naive, exact, magnitude).ok;
}

TEST(Compare, ExactPasses) { EXPECT_TRUE(passes({1.0f, 2.0f})); }

TEST(Compare, NanFailsWhereverItIs) {
  EXPECT_FALSE(passes({kNan, 2.0f}));
  EXPECT_FALSE(passes({1.0f, kNan}));
  EXPECT_FALSE(passes({1.0f, kNan}, {1.0f, kNan}));
  EXPECT_FALSE(passes({1.0f, kNan}, {1.0f, 2.0f}, {1.0, std::nan("")}));
  EXPECT_FALSE(passes({1.0f, 2.0f}, {1.0f, 2.0f}, {1.0, 2.0}, {1.0, std::nan("")}) &&
               passes({1.0f, 2.5f}, {1.0f, 2.0f}, {1.0, 2.0}, {1.0, std::nan("")}));
}

TEST(Compare, InfinityFailsEvenIfExpected) {
  EXPECT_FALSE(passes({1.0f, kInf}));
  EXPECT_FALSE(passes({1.0f, kInf}, {1.0f, kInf}));
  EXPECT_FALSE(passes({1.0f, kInf}, {1.0f, kInf}, {1.0, std::numeric_limits<double>::infinity()}));
}

TEST(Compare, TwiceTheNaiveErrorIsTheLimit) {
  EXPECT_TRUE(passes({1.0f, 2.00019f}, {1.0f, 2.0001f}));
  EXPECT_FALSE(passes({1.0f, 2.00021f}, {1.0f, 2.0001f}));
  EXPECT_FALSE(passes({1.00021f, 2.0f}, {1.0f, 2.0001f}));  // of another element, normalised
}

TEST(Compare, FloorIsTwoUlp) {
  EXPECT_TRUE(passes({1.0f + 0x1p-22f, 2.0f}));
  EXPECT_FALSE(passes({1.0f + 0x1.8p-22f, 2.0f}));
}

TEST(Compare, DifferenceWhereNothingWasSummedFails) {
  EXPECT_TRUE(passes({0.0f, 2.0f}, {0.0f, 2.0f}, {0.0, 2.0}, {0.0, 2.0}));
  EXPECT_FALSE(passes({1e-30f, 2.0f}, {0.0f, 2.0f}, {0.0, 2.0}, {0.0, 2.0}));
}

TEST(Compare, LengthsMustAgree) { EXPECT_FALSE(passes({1.0f}, {1.0f, 2.0f})); }

}  // namespace
}  // namespace dak::test
