#include "memory/random_values.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/half.h"
#include "support/throws_error.h"

namespace dak {
namespace {

std::vector<std::byte> filled(const RandomValues& values) {
  std::vector<std::byte> bytes(static_cast<size_t>(bytes_of(values.dtype, values.count)));
  fill_random_cpu(bytes.data(), values);
  return bytes;
}

std::vector<float> floats(const RandomValues& values) {
  const std::vector<std::byte> bytes = filled(values);
  std::vector<float> result(static_cast<size_t>(values.count));
  for (size_t i = 0; i < result.size(); ++i) {
    if (values.dtype == DType::kF32) {
      std::memcpy(&result[i], bytes.data() + i * 4, 4);
      continue;
    }
    uint16_t bits = 0;
    std::memcpy(&bits, bytes.data() + i * 2, 2);
    result[i] = values.dtype == DType::kF16 ? f16_to_f32(bits) : bf16_to_f32(bits);
  }
  return result;
}

constexpr DType kTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

// Seeds in a result file mean something only if the numbers never change.
TEST(RandomValues, AreTheseForEver) {
  const auto values = floats({.seed = 7, .first_index = 3, .count = 3, .dtype = DType::kF32});
  EXPECT_EQ(values,
            (std::vector<float>{5721933 * 0x1p-23f, 4604703 * 0x1p-23f, -7951675 * 0x1p-23f}));
  const auto later =
      floats({.seed = 7, .first_index = int64_t{1} << 32, .count = 1, .dtype = DType::kF32});
  EXPECT_EQ(later.front(), -1130779 * 0x1p-23f);
}

TEST(RandomValues, FillTheirRangeEvenly) {
  constexpr int64_t kCount = 200'000;
  for (const DType dtype : kTypes) {
    for (const auto& [centre, half_width] : {std::pair{0.0f, 0.25f}, std::pair{1.0f, 0.1f}}) {
      const auto values = floats(
          {.seed = 1, .count = kCount, .dtype = dtype, .centre = centre, .half_width = half_width});
      double sum = 0;
      double squares = 0;
      for (const float value : values) {
        // Rounding may step over the edge by half a last place.
        ASSERT_LE(std::abs(value - centre), half_width + std::abs(centre + half_width) * 0x1p-9f);
        sum += static_cast<double>(value - centre);
        squares += static_cast<double>(value - centre) * static_cast<double>(value - centre);
      }
      const auto width = static_cast<double>(half_width);
      EXPECT_NEAR(sum / kCount, 0, 0.01 * width) << name(dtype);
      EXPECT_NEAR(squares / kCount, width * width / 3, 0.01 * width * width) << name(dtype);
    }
  }
}

TEST(RandomValues, DoNotDependOnHowTheyAreCut) {
  constexpr int64_t kCount = 1000;
  for (const DType dtype : kTypes) {
    for (const int64_t first : {int64_t{0}, (int64_t{1} << 32) - 500}) {
      const auto whole = filled({.seed = 5, .first_index = first, .count = kCount, .dtype = dtype});
      std::vector<std::byte> pieces(whole.size());
      for (int64_t at = 0; at < kCount; at += 37) {
        fill_random_cpu(pieces.data() + bytes_of(dtype, at),
                        {.seed = 5,
                         .first_index = first + at,
                         .count = std::min<int64_t>(37, kCount - at),
                         .dtype = dtype});
      }
      EXPECT_EQ(pieces, whole);
    }
  }
}

// Neither the values of another seed or of 2^32 later, nor the same ones in another order.
TEST(RandomValues, OfTwoSeedsHaveNothingInCommon) {
  const RandomValues one{.seed = 1, .count = 4096, .dtype = DType::kF32};
  RandomValues next_seed = one;
  next_seed.seed = 2;
  RandomValues later = one;
  later.first_index = int64_t{1} << 32;
  auto sorted = floats(one);
  std::ranges::sort(sorted);
  for (const RandomValues& other : {next_seed, later}) {
    auto values = floats(other);
    std::ranges::sort(values);
    std::vector<float> common;
    std::ranges::set_intersection(sorted, values, std::back_inserter(common));
    EXPECT_LT(common.size(), 20u);  // of 4096 draws from 2^23 values: 2 expected
  }
}

TEST(RandomValues, RefuseQuantisedTypes) {
  std::byte block[256];
  EXPECT_TRUE(test::throws_error(
      ErrorCode::kUnsupported,
      "random values: dtype 'q8_0': is not a type that it takes; it takes f32, f16 and bf16",
      [&] { fill_random_cpu(block, {.count = 32, .dtype = DType::kQ8_0}); }));
}

}  // namespace
}  // namespace dak
