// Types of values: what nothing is known of is refused, never counted as 0 bytes or read as f16.
#include "base/dtype.h"

#include <gtest/gtest.h>

#include "base/half.h"
#include "support/throws_error.h"

namespace dak {
namespace {

using test::throws_error;

constexpr auto kNoType = static_cast<DType>(200);
constexpr DType kQuantised[] = {DType::kQ8_0, DType::kQ4_0,   DType::kQ4_1,   DType::kQ4_K,
                                DType::kQ5_K, DType::kQ6_K,   DType::kQ5_0,   DType::kQ5_1,
                                DType::kQ3_K, DType::kIQ4_NL, DType::kIQ4_XS, DType::kMXFP4,
                                DType::kNVFP4};

TEST(DType, BytesOfWholeBlocks) {
  EXPECT_EQ(bytes_of(DType::kF32, 3), 12);
  EXPECT_EQ(bytes_of(DType::kF16, 3), 6);
  EXPECT_EQ(bytes_of(DType::kBF16, 3), 6);
  EXPECT_EQ(bytes_of(DType::kQ8_0, 64), 68);
  EXPECT_EQ(bytes_of(DType::kQ4_K, 512), 288);
  for (const DType dtype : kQuantised) {
    EXPECT_EQ(bytes_of(dtype, 0), 0);
    EXPECT_EQ(bytes_of(dtype, traits(dtype).block_elements), traits(dtype).block_bytes);
  }
}

TEST(DType, BytesOfPartOfABlockAreRefused) {
  for (const DType dtype : kQuantised) {
    const int block = traits(dtype).block_elements;
    for (const int64_t elements : {int64_t{1}, int64_t{block - 1}, int64_t{block + 1}}) {
      EXPECT_TRUE(throws_error(ErrorCode::kInternal,
                               fmt::format("{} values of {} are not whole blocks, which have {}",
                                           elements, name(dtype), block),
                               [&] { bytes_of(dtype, elements); }));
    }
  }
}

TEST(DType, ANumberOfNoTypeIsRefused) {
  constexpr std::string_view kWords = "number 200 names no type of values";
  EXPECT_TRUE(throws_error(ErrorCode::kInternal, kWords, [] { traits(kNoType); }));
  EXPECT_TRUE(throws_error(ErrorCode::kInternal, kWords, [] { name(kNoType); }));
  EXPECT_TRUE(throws_error(ErrorCode::kInternal, kWords, [] { bytes_of(kNoType, 4); }));
  EXPECT_TRUE(throws_error(ErrorCode::kInternal, kWords, [] { is_quantised(kNoType); }));
}

TEST(DType, ElementsStandAlone) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const Element element = element_of(dtype, "here");
    EXPECT_EQ(dtype_of(element), dtype);
    EXPECT_EQ(bytes_of(element, 7), bytes_of(dtype, 7));
  }
  for (const DType dtype : kQuantised) {
    EXPECT_TRUE(throws_error(
        ErrorCode::kUnsupported,
        {"here: dtype '" + std::string(name(dtype)) + "'", "it takes f32, f16 and bf16"},
        [&] { element_of(dtype, "here"); }));
  }
}

TEST(DType, OnlyHalvesAreHalves) {
  EXPECT_EQ(half_to_f32(DType::kF16, f32_to_half(DType::kF16, 1.5f)), 1.5f);
  EXPECT_EQ(half_to_f32(DType::kBF16, f32_to_half(DType::kBF16, 1.5f)), 1.5f);
  EXPECT_NE(f32_to_half(DType::kF16, 1.5f), f32_to_half(DType::kBF16, 1.5f));
  for (const DType dtype : {DType::kF32, DType::kQ8_0, DType::kQ4_K}) {
    EXPECT_TRUE(throws_error(ErrorCode::kUnsupported, {name(dtype), "it takes f16 and bf16"},
                             [&] { half_to_f32(dtype, 0); }));
    EXPECT_TRUE(throws_error(ErrorCode::kUnsupported, {name(dtype), "it takes f16 and bf16"},
                             [&] { f32_to_half(dtype, 0); }));
  }
}

}  // namespace
}  // namespace dak
