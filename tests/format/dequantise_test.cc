#include "format/dequantise.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "base/error.h"
#include "byte_images.h"
#include "support/throws_error.h"

namespace dak {
namespace {

std::string read_golden(const std::string& name) {
  std::ifstream file(std::string(DAK_TEST_DATA) + "/format/" + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<float> dequantise_all(DType dtype, std::string_view bytes) {
  const auto blocks = static_cast<int64_t>(bytes.size()) / traits(dtype).block_bytes;
  // One guard value past the end.
  std::vector<float> out(static_cast<size_t>(blocks * traits(dtype).block_elements) + 1, -777.0f);
  dequantise(dtype, reinterpret_cast<const std::byte*>(bytes.data()), std::ssize(out) - 1,
             out.data());
  EXPECT_EQ(out.back(), -777.0f) << "wrote past the end";
  out.pop_back();
  return out;
}

class GoldenBlocks : public testing::TestWithParam<DType> {};

TEST_P(GoldenBlocks, BitwiseEqualToGgufPackage) {
  const DType dtype = GetParam();
  const std::string stored = read_golden(std::string(name(dtype)) + ".blocks");
  const std::string wanted = read_golden(std::string(name(dtype)) + ".f32");
  ASSERT_FALSE(stored.empty());
  const std::vector<float> got = dequantise_all(dtype, stored);
  ASSERT_EQ(got.size() * sizeof(float), wanted.size());
  for (size_t i = 0; i < got.size(); ++i) {
    uint32_t bits = 0;
    std::memcpy(&bits, wanted.data() + i * sizeof(float), sizeof(bits));
    ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), bits) << name(dtype) << " value " << i;
  }
}

// Blocks may lie at any address: a file's header has any length.
TEST_P(GoldenBlocks, UnalignedInput) {
  const DType dtype = GetParam();
  const std::string stored = read_golden(std::string(name(dtype)) + ".blocks");
  const std::vector<float> aligned = dequantise_all(dtype, stored);
  const std::string shifted = "x" + stored;
  const std::vector<float> unaligned = dequantise_all(dtype, std::string_view(shifted).substr(1));
  EXPECT_EQ(0, std::memcmp(aligned.data(), unaligned.data(), aligned.size() * sizeof(float)));
}

INSTANTIATE_TEST_SUITE_P(All, GoldenBlocks,
                         testing::Values(DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kQ4_K,
                                         DType::kQ5_K, DType::kQ6_K, DType::kQ5_0, DType::kQ5_1,
                                         DType::kQ3_K, DType::kIQ4_NL, DType::kIQ4_XS,
                                         DType::kMXFP4, DType::kNVFP4),
                         [](const auto& test) { return std::string(name(test.param)); });

TEST(Dequantise, EveryF16) {
  std::string stored;
  for (uint32_t half = 0; half < 65536; ++half) stored += le(static_cast<uint16_t>(half));
  const std::vector<float> got = dequantise_all(DType::kF16, stored);
  for (uint32_t half = 0; half < 65536; ++half) {
    const int exponent = static_cast<int>((half >> 10) & 0x1f);
    const int mantissa = static_cast<int>(half & 0x3ff);
    double magnitude =
        exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
    if (exponent == 31) magnitude = std::numeric_limits<double>::infinity();
    if (exponent == 31 && mantissa != 0) {
      ASSERT_TRUE(std::isnan(got[half])) << half;
      continue;
    }
    ASSERT_EQ(got[half], static_cast<float>(magnitude) * ((half & 0x8000) != 0 ? -1.0f : 1.0f))
        << half;
    ASSERT_EQ(std::signbit(got[half]), (half & 0x8000) != 0) << half;
  }
}

TEST(Dequantise, EveryBf16) {
  std::string stored;
  for (uint32_t bits = 0; bits < 65536; ++bits) stored += le(static_cast<uint16_t>(bits));
  const std::vector<float> got = dequantise_all(DType::kBF16, stored);
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    ASSERT_EQ(std::bit_cast<uint32_t>(got[bits]), bits << 16);
  }
}

TEST(Dequantise, F32IsACopy) {
  const std::vector<float> values{0.0f, -0.0f, 1.5f, std::numeric_limits<float>::denorm_min(),
                                  -std::numeric_limits<float>::infinity()};
  const std::vector<float> got = dequantise_all(DType::kF32, le_all(values));
  EXPECT_EQ(0, std::memcmp(got.data(), values.data(), values.size() * sizeof(float)));
}

TEST(Dequantise, RefusesPartOfABlock) {
  std::vector<std::byte> block(34);
  std::vector<float> out(32);
  EXPECT_TRUE(test::throws_error(ErrorCode::kInternal, "dequantise: part of a block",
                                 [&] { dequantise(DType::kQ8_0, block.data(), 31, out.data()); }));
  dequantise(DType::kQ8_0, block.data(), 0, out.data());
}

}  // namespace
}  // namespace dak
