#include "memory/arena.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "support/throws_error.h"

namespace dak {
namespace {

TEST(Arena, KeepsToItsCapacity) {
  const auto arena = make_cpu_arena({.name = "local", .capacity_bytes = 3 * kArenaAlignment});
  std::byte* first = arena->allocate(1);
  std::byte* second = arena->allocate(2 * kArenaAlignment);
  EXPECT_NE(first, second);
  EXPECT_EQ(arena->used_bytes(), 3 * kArenaAlignment);
  EXPECT_TRUE(
      test::throws_error(ErrorCode::kResourceExhausted, "tier local", [&] { arena->allocate(1); }));
}

TEST(Arena, GivesZeroedAlignedMemoryAcrossSlabs) {
  const auto arena = make_cpu_arena({.name = "host"});
  for (const int64_t size : {int64_t{1} << 20, int64_t{100} << 20, int64_t{5}}) {
    std::byte* data = arena->allocate(size);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % kArenaAlignment, 0u);
    EXPECT_EQ(data[0], std::byte{0});
    EXPECT_EQ(data[size - 1], std::byte{0});
    std::memset(data, 1, static_cast<size_t>(size));
  }
}

TEST(Arena, GivesAllBackAndBeginsAgain) {
  const auto arena = make_cpu_arena({.name = "host", .capacity_bytes = int64_t{80} << 20});
  std::memset(arena->allocate(int64_t{80} << 20), 1, size_t{80} << 20);
  EXPECT_TRUE(
      test::throws_error(ErrorCode::kResourceExhausted, "tier host", [&] { arena->allocate(1); }));
  arena->release();
  EXPECT_EQ(arena->used_bytes(), 0);
  std::byte* again = arena->allocate(int64_t{80} << 20);
  EXPECT_EQ(again[0], std::byte{0});
  std::byte read{1};
  arena->read(again + 5, {&read, 1});
  EXPECT_EQ(read, std::byte{0});
}

}  // namespace
}  // namespace dak
