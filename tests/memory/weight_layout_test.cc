#include "memory/weight_layout.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "base/half.h"
#include "support/throws_error.h"

namespace dak {
namespace {

TEST(WeightLayout, EveryElementHasAPlaceOfItsOwn) {
  std::set<int64_t> seen;
  for (int64_t row = 0; row < kRowBlockRows; ++row) {
    for (int64_t col = 0; col < 192; ++col) seen.insert(offset_in_block(row, col));
  }
  EXPECT_EQ(static_cast<int64_t>(seen.size()), kRowBlockRows * 192);
  EXPECT_EQ(*seen.begin(), 0);
  EXPECT_EQ(*seen.rbegin(), kRowBlockRows * 192 - 1);
}

TEST(WeightLayout, CoreMatricesAndChunksAreContiguous) {
  EXPECT_EQ(offset_in_block(0, 1), 1);
  EXPECT_EQ(offset_in_block(1, 0), 8);
  EXPECT_EQ(offset_in_block(0, 8), 64);
  EXPECT_EQ(offset_in_block(8, 0), 512);
  EXPECT_EQ(offset_in_block(0, 64), 4096);
}

TEST(WeightLayout, PacksAndUnpacksRaggedBlocks) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const int64_t rows : {int64_t{1}, int64_t{9}, int64_t{64}}) {
      for (const int64_t cols : {int64_t{1}, int64_t{63}, int64_t{64}, int64_t{130}}) {
        std::vector<float> values(static_cast<size_t>(rows * cols));
        for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 251) - 100;
        std::vector<std::byte> block(static_cast<size_t>(row_block_bytes(cols, dtype)),
                                     std::byte{0xff});
        pack_row_block(values.data(), rows, cols, dtype, block.data());
        std::vector<float> back(values.size(), -1);
        unpack_row_block(block.data(), rows, cols, dtype, back.data());
        EXPECT_EQ(values, back);
        // Padding is zero, not what was there.
        std::vector<float> all(static_cast<size_t>(kRowBlockRows * padded_cols(cols)), -1);
        unpack_row_block(block.data(), kRowBlockRows, padded_cols(cols), dtype, all.data());
        for (int64_t row = 0; row < kRowBlockRows; ++row) {
          for (int64_t col = 0; col < padded_cols(cols); ++col) {
            if (row < rows && col < cols) continue;
            ASSERT_EQ(all[static_cast<size_t>(row * padded_cols(cols) + col)], 0);
          }
        }
      }
    }
  }
}

TEST(WeightLayout, RefusesQuantisedTypes) {
  std::vector<std::byte> block(static_cast<size_t>(row_block_bytes(64, DType::kF32)));
  std::vector<float> values(static_cast<size_t>(kRowBlockRows * 64));
  for (const DType dtype : {DType::kQ8_0, DType::kQ4_K}) {
    const std::string words = "dtype '" + std::string(name(dtype)) + "'";
    EXPECT_TRUE(test::throws_error(ErrorCode::kUnsupported, {"pack_row_block", words}, [&] {
      pack_row_block(values.data(), 64, 64, dtype, block.data());
    }));
    EXPECT_TRUE(test::throws_error(ErrorCode::kUnsupported, {"unpack_row_block", words}, [&] {
      unpack_row_block(block.data(), 64, 64, dtype, values.data());
    }));
  }
}

}  // namespace
}  // namespace dak
