#include "model/weights.h"

#include <gtest/gtest.h>

#include "model/declared_model.h"
#include "model/loader.h"

namespace dak {
namespace {

TEST(MatrixDecl, PartsFollowEachOther) {
  const MatrixDecl spec{.part = "qkv", .cols = 4, .parts = {{"q", 10}, {"k", 3}, {"v", 3}}};
  EXPECT_EQ(spec.rows(), 16);
  EXPECT_EQ(spec.source_of(9).part, 0u);
  EXPECT_EQ(spec.source_of(10).part, 1u);
  EXPECT_EQ(spec.source_of(10).row, 0);
  EXPECT_EQ(spec.source_of(15).part, 2u);
  EXPECT_EQ(spec.source_of(15).row, 2);
}

TEST(MatrixDecl, GatedAlternatesEightRows) {
  const MatrixDecl spec{
      .part = "gate_up", .cols = 4, .parts = {{"g", 16}, {"u", 16}}, .gated = true};
  EXPECT_EQ(spec.source_of(7).part, 0u);
  EXPECT_EQ(spec.source_of(8).part, 1u);
  EXPECT_EQ(spec.source_of(8).row, 0);
  EXPECT_EQ(spec.source_of(16).part, 0u);
  EXPECT_EQ(spec.source_of(16).row, 8);
  EXPECT_EQ(spec.source_of(31).part, 1u);
  EXPECT_EQ(spec.source_of(31).row, 15);
}

// llama.cpp's converter reshapes each head's rows [2, half] to [half, 2]; source_of undoes it.
TEST(MatrixDecl, RopePairsAreUndone) {
  const MatrixDecl spec{.part = "q", .cols = 4, .parts = {{"q", 16, /*rope_pair_heads=*/2}}};
  const std::vector<int64_t> stored_of_row{0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15};
  for (int64_t row = 0; row < 16; ++row) {
    EXPECT_EQ(spec.source_of(row).row, stored_of_row[static_cast<size_t>(row)]);
  }
}

TEST(HeldDtype, KeepsPlainTypesAndWidensQuantisedOnes) {
  EXPECT_EQ(held_dtype(std::array{DType::kF16, DType::kF16}), DType::kF16);
  EXPECT_EQ(held_dtype(std::array{DType::kQ4_K, DType::kQ6_K}), DType::kBF16);
  EXPECT_EQ(held_dtype(std::array{DType::kF32, DType::kQ8_0}), DType::kBF16);
  EXPECT_EQ(held_dtype(std::array{DType::kF16, DType::kBF16}), DType::kF32);
}

// A layer's operands add up to what the family's configuration says.
TEST(GatedDecoderWeights, CountsParametersOfLlama3) {
  ModelConfig config{.family = "llama",
                     .vocabulary = 128256,
                     .hidden = 4096,
                     .layers = 32,
                     .heads = 32,
                     .kv_heads = 8,
                     .head_size = 128,
                     .intermediate = 14336};
  int64_t parameters = 0;
  const Program specs = program_of(config);
  for (const MatrixDecl& spec : specs.matrices) parameters += spec.rows() * spec.cols;
  for (const VectorDecl& spec : specs.vectors) parameters += spec.size();
  EXPECT_EQ(parameters, 8030261248);  // Llama-3.1-8B's own count
}

}  // namespace
}  // namespace dak
