// configs/: what `dak plan` and synthetic weights take instead of a download.
#include <gtest/gtest.h>

#include <filesystem>

#include "engine/engine.h"
#include "model/declared_model.h"

namespace dak {
namespace {

namespace fs = std::filesystem;

const fs::path kConfigs = fs::path(DAK_SOURCE_DIR) / "configs";

struct Shipped {
  const char* name;
  double parameters;  // as published
  DType stored;
};

// Tied embeddings count once.
constexpr Shipped kShipped[] = {
    {"opt-6.7b", 6.658e9, DType::kF16},          {"opt-13b", 12.853e9, DType::kF16},
    {"opt-30b", 29.975e9, DType::kF16},          {"opt-66b", 65.72e9, DType::kF16},
    {"llama-2-7b", 6.738e9, DType::kF16},        {"llama-3.1-8b", 8.030e9, DType::kBF16},
    {"llama-3.1-70b", 70.554e9, DType::kBF16},   {"qwen2.5-72b", 72.706e9, DType::kBF16},
    {"llama-3.1-405b", 405.853e9, DType::kBF16},
};

TEST(ShippedConfigs, AreAllInTheTable) {
  const auto folders = std::distance(fs::directory_iterator(kConfigs), fs::directory_iterator());
  EXPECT_EQ(folders, std::ssize(kShipped));
}

TEST(ShippedConfigs, OpenPlanAndHaveTheirParameters) {
  std::vector<Tier> tiers = cpu_tiers(1e9);
  tiers[0].capacity_bytes = int64_t{80} << 30;
  tiers[1].capacity_bytes = int64_t{1} << 40;
  for (const Shipped& shipped : kShipped) {
    const ModelFiles files = open_model(kConfigs / shipped.name, /*need_weights=*/false);
    EXPECT_EQ(files.config.name, shipped.name);
    EXPECT_EQ(files.config.stored_dtype, shipped.stored);
    EXPECT_FALSE(files.has_tokenizer());
    const Program program = program_of(files.config, files.naming);
    int64_t parameters = 0;
    for (const MatrixDecl& spec : program.matrices) parameters += spec.rows() * spec.cols;
    for (const VectorDecl& spec : program.vectors) parameters += spec.size();
    EXPECT_NEAR(static_cast<double>(parameters), shipped.parameters, 0.001 * shipped.parameters)
        << shipped.name;

    const Plan plan = plan_model(files, {.context = 2048, .synthetic_seed = 0}, tiers);
    EXPECT_NEAR(static_cast<double>(plan.weight_bytes()), 2 * shipped.parameters,
                0.01 * shipped.parameters)
        << shipped.name;
    EXPECT_EQ(plan.offload_ratio() > 0, shipped.parameters > 40e9) << shipped.name;
  }
}

}  // namespace
}  // namespace dak
