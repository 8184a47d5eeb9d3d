#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

namespace dak {
namespace {

TEST(ThreadPool, VisitsEveryIndexOnce) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (const int64_t count : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> visits(static_cast<size_t>(count));
      pool.parallel_for(count, 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
      });
      for (const auto& visit : visits) EXPECT_EQ(visit, 1);
    }
  }
}

TEST(ThreadPool, KeepsToTheGrain) {
  ThreadPool pool(8);
  std::atomic<int> calls{0};
  pool.parallel_for(10, 6, [&](int64_t, int64_t, int) { ++calls; });
  EXPECT_EQ(calls, 1);
}

TEST(ThreadPool, RethrowsAndGoesOn) {
  ThreadPool pool(4);
  for (int round = 0; round < 100; ++round) {
    EXPECT_THROW(pool.parallel_for(4, 1,
                                   [](int64_t begin, int64_t, int) {
                                     if (begin == 3) throw std::runtime_error("x");
                                   }),
                 std::runtime_error);
  }
  std::atomic<int64_t> sum{0};
  pool.parallel_for(100, 1, [&](int64_t begin, int64_t end, int) { sum += end - begin; });
  EXPECT_EQ(sum, 100);
}

TEST(ThreadPool, SharesAreNumberedOnce) {
  ThreadPool pool(6);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::atomic<int>> uses(6);
    pool.parallel_for(6, 1, [&](int64_t begin, int64_t, int share) {
      EXPECT_EQ(begin, share);
      ++uses[static_cast<size_t>(share)];
    });
    for (const auto& use : uses) EXPECT_EQ(use, 1);
  }
}

TEST(ThreadPool, ManyShortLoops) {
  ThreadPool pool(3);
  int64_t total = 0;
  std::vector<int64_t> parts(3);
  for (int round = 0; round < 20000; ++round) {
    pool.parallel_for(3, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) parts[static_cast<size_t>(i)] = round;
    });
    total += parts[0] + parts[1] + parts[2];
  }
  EXPECT_EQ(total, int64_t{3} * 19999 * 20000 / 2);
}

}  // namespace
}  // namespace dak
