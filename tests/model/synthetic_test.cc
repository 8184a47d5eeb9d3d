#include "model/synthetic.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "model/synthetic_support.h"
#include "ops/rows.h"

namespace dak {
namespace {

using test::bytes_of_weights;
using test::SyntheticModel;

// One family of each kind; smollm2 ties its embeddings and has ragged sizes.
const std::string kConfigs[] = {"hf/smollm2", "hf/qwen2", "hf/qwen3", "hf/opt"};

std::string config_of(const std::string& model) {
  return std::string(DAK_TEST_DATA) + "/model/" + model + "/config.json";
}

EngineOptions options_of(DType dtype, double ratio) {
  return {.offload_ratio = ratio, .context = 64, .synthetic_seed = 1, .dtype = dtype};
}

TEST(Synthetic, PlacementAndThreadsNeverChangeAValue) {
  for (const std::string& config : kConfigs) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
      const SyntheticModel reference(config_of(config), options_of(dtype, 0), 1, 1);
      const auto expected = bytes_of_weights(reference);
      for (const double ratio : {0.0, 0.1, 0.5, 1.0}) {
        const SyntheticModel model(config_of(config), options_of(dtype, ratio), 1, 3);
        EXPECT_TRUE(bytes_of_weights(model) == expected) << config << " at " << ratio;
        EXPECT_EQ(model.plan.weight_bytes_in(1) > 0, ratio > 0);
      }
    }
  }
}

TEST(Synthetic, EveryTensorAndSeedHasNumbersOfItsOwn) {
  std::set<std::string> seen;
  size_t tensors = 0;
  for (const uint64_t seed : {0, 1}) {
    const SyntheticModel model(config_of("hf/opt"), options_of(DType::kF32, 0.5), seed);
    for (const auto& [name, bytes] : bytes_of_weights(model)) {
      EXPECT_TRUE(seen.emplace(reinterpret_cast<const char*>(bytes.data()), 64).second) << name;
      ++tensors;
    }
  }
  EXPECT_EQ(seen.size(), tensors);
}

TEST(Synthetic, PaddingIsZeroAndValuesAreNot) {
  const SyntheticModel model(config_of("hf/smollm2"), options_of(DType::kBF16, 0.5), 3);
  int64_t padding = 0;
  for (const MatrixId id : model.declared.program.matrix_ids()) {
    const MatrixDecl& spec = model.declared.program.matrix(id);
    const TieredTensor& tensor = model.weights.matrix(id);
    const int64_t width = padded_cols(spec.cols);
    std::vector<float> block(static_cast<size_t>(kRowBlockRows * width));
    double squares = 0;
    for (int64_t i = 0; i < std::ssize(tensor.blocks); ++i) {
      unpack_row_block(tensor.blocks[static_cast<size_t>(i)].data, kRowBlockRows, width,
                       tensor.dtype, block.data());
      for (int64_t row = 0; row < kRowBlockRows; ++row) {
        for (int64_t col = 0; col < width; ++col) {
          const float value = block[static_cast<size_t>(row * width + col)];
          const bool valid = row < tensor.rows_in_block(i) && col < spec.cols;
          ASSERT_EQ(value != 0, valid) << tensor.name << " " << i * 64 + row << " " << col;
          padding += valid ? 0 : 1;
          squares += static_cast<double>(value) * static_cast<double>(value);
        }
      }
    }
    // A variance of 1 / cols keeps the size of activations.
    EXPECT_NEAR(squares / static_cast<double>(spec.rows()), 1, 0.05) << tensor.name;
  }
  EXPECT_GT(padding, 0);
}

TEST(Synthetic, NormsAreNearOneAndBiasesSmall) {
  const SyntheticModel model(config_of("hf/opt"), options_of(DType::kF32, 0), 3);
  for (const VectorId id : model.declared.program.vector_ids()) {
    const VectorDecl& spec = model.declared.program.vector(id);
    const bool bias = spec.name().ends_with("_bias");
    const float* values = model.weights.vector(id);
    for (int64_t i = 0; i < spec.size(); ++i) {
      ASSERT_LE(std::abs(values[i] - (bias ? 0 : 1)), bias ? 0.02f : 0.1f) << spec.name();
      ASSERT_NE(values[i], bias ? 0 : 1) << spec.name();
    }
  }
}

TEST(Synthetic, AForwardPassStaysFinite) {
  for (const std::string& config : kConfigs) {
    std::vector<float> first;
    for (const double ratio : {0.0, 0.5, 1.0}) {
      SyntheticModel loaded(config_of(config), options_of(DType::kBF16, ratio), 9);
      const ModelConfig& shape = loaded.files.config;
      constexpr int64_t kTokens = 12;
      Workspace workspace(loaded.declared.program, kTokens, 1, loaded.weights.arena(0));
      KvCache cache(shape, DType::kBF16, 64, loaded.weights.arena(0));
      KvHold hold;
      cache.reserve(hold, kTokens);
      Batch batch{.sequences = {{.pages = &hold.pages, .past = 0, .rows = kTokens}},
                  .logit_rows = {kTokens - 1},
                  .kv_dtype = cache.dtype()};
      for (int32_t i = 0; i < kTokens; ++i) {
        batch.tokens.push_back(i * 7 % static_cast<int32_t>(shape.vocabulary));
        batch.positions.push_back(i);
      }
      OpContext ctx;
      ctx.pool = &loaded.pool;
      const auto values =
          host_values(ctx, loaded.declared.model->forward(ctx, loaded.weights, batch, workspace));
      const std::vector<float> logits(values.begin(), values.end());
      double squares = 0;
      for (const float logit : logits) squares += static_cast<double>(logit * logit);
      const double size = std::sqrt(squares / static_cast<double>(logits.size()));
      EXPECT_TRUE(size > 0.1 && size < 10) << config << ": rms of the logits " << size;
      if (first.empty()) first = logits;
      EXPECT_EQ(logits, first) << config << " at " << ratio;
    }
  }
}

}  // namespace
}  // namespace dak
