#include "engine/step_rows.h"

#include <gtest/gtest.h>

namespace dak {
namespace {

// Products round alike within a class.
int64_t class_of(int64_t rows) { return rows <= 16 ? 16 : rows <= 32 ? 32 : rows <= 64 ? 64 : 65; }

TEST(StepRows, HaveRoomForEverybodyAndAreOfTheSameClass) {
  for (int64_t most = 1; most <= 600; ++most) {
    int64_t before = 0;
    for (int64_t sequences = 1; sequences <= most; ++sequences) {
      const int64_t rows = step_rows(sequences, most);
      ASSERT_GE(rows, sequences);
      ASSERT_LE(rows, most);
      ASSERT_GE(rows, before) << sequences;
      ASSERT_EQ(class_of(rows), class_of(sequences)) << sequences << " of at most " << most;
      ASSERT_EQ(step_rows(rows, most), rows);
      ASSERT_LE(rows - sequences, std::max<int64_t>(3, (sequences - 1) / 4)) << sequences;
      before = rows;
    }
  }
}

TEST(StepRows, AreFew) {
  EXPECT_EQ(all_step_rows(1), (std::vector<int64_t>{1}));
  EXPECT_EQ(all_step_rows(6), (std::vector<int64_t>{1, 2, 4, 6}));
  EXPECT_EQ(all_step_rows(64),
            (std::vector<int64_t>{1, 2, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64}));
  EXPECT_EQ(all_step_rows(70).back(), 70);
  const std::vector<int64_t> all = all_step_rows(512);
  EXPECT_EQ(all.size(), 26U);
  for (int64_t sequences = 1; sequences <= 512; ++sequences) {
    EXPECT_TRUE(std::ranges::binary_search(all, step_rows(sequences, 512))) << sequences;
  }
}

}  // namespace
}  // namespace dak
