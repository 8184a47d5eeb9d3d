#include "hardware/window_map.h"

#include <gtest/gtest.h>

namespace dak {
namespace {

constexpr int64_t kKiB = 1024;

WindowSample cell(int64_t window_kib, int64_t readers, double remote, double local, double us) {
  return {window_kib * kKiB, readers, remote * 1e9, local * 1e9, us};
}

// An H100 over PCIe 5, as measured: full from 256 KiB on, local reads collapse past 1 MiB.
std::vector<WindowSample> pcie() {
  return {cell(64, 8, 21.1, 3132, 3.1),    cell(128, 8, 37.1, 3131, 3.5),
          cell(256, 8, 50.7, 3130, 5.1),   cell(512, 8, 51.0, 3123, 10.2),
          cell(1024, 8, 51.1, 3112, 20.5), cell(2048, 16, 49.6, 2457, 40),
          cell(1024, 16, 51.1, 3107, 20),  cell(512, 16, 51.0, 3131, 10),
          cell(2048, 32, 50.2, 745, 41),   cell(4096, 32, 50.7, 231, 80)};
}

TEST(Knee, IsWhereTheLinkIsFullAndLocalStillFast) {
  const std::optional<Knee> knee = knee_of(pcie(), 7);  // the row of 8
  ASSERT_TRUE(knee);
  EXPECT_EQ(knee->least_window_bytes, 256 * kKiB);
  EXPECT_EQ(knee->most_window_bytes, 1024 * kKiB);
  EXPECT_DOUBLE_EQ(knee->local_bytes_per_s, 3130e9);
  EXPECT_DOUBLE_EQ(knee->round_trip_us, 5.1);
}

TEST(Knee, EndsBeforeTheCollapseWhateverTheOrder) {
  const std::optional<Knee> knee = knee_of(pcie(), 9);  // the row of 16, listed backwards
  ASSERT_TRUE(knee);
  EXPECT_EQ(knee->least_window_bytes, 512 * kKiB);
  EXPECT_EQ(knee->most_window_bytes, 1024 * kKiB);
}

TEST(Knee, TakesTheMostReadersWhereNoneHasEnough) {
  const std::optional<Knee> knee = knee_of(pcie(), 100);
  ASSERT_TRUE(knee);
  EXPECT_EQ(knee->least_window_bytes, 2048 * kKiB);
  EXPECT_EQ(knee->most_window_bytes, 2048 * kKiB);
}

TEST(Knee, OfNothingIsNothing) { EXPECT_FALSE(knee_of({}, 8)); }

}  // namespace
}  // namespace dak
