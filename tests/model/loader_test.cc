#include "model/loader.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "base/half.h"
#include "support/loaded_model.h"

namespace dak {
namespace {

const std::string kData = std::string(DAK_TEST_DATA) + "/model/";

// Every value of every matrix, wherever its block lies, is the stored one in its right row.
TEST(Loader, PutsEveryRowWhereThePlanSays) {
  const ModelFiles files = open_model(kData + "hf/qwen3", true);
  const Program program = program_of(files.config, files.naming);
  const EngineOptions options{.offload_ratio = 0.4, .context = 64};
  const Plan plan = plan_model(files, options, cpu_tiers(1e9));
  std::vector<std::unique_ptr<Arena>> arenas;
  for (const Tier& tier : plan.tiers) arenas.push_back(make_cpu_arena(tier));
  Weights weights(std::move(arenas));
  ThreadPool pool(2);
  int64_t last_done = 0;
  int64_t total = 0;
  load_weights(program, *files.checkpoint, plan, pool,
               {.progress =
                    [&](const Progress& progress) {
                      EXPECT_GT(progress.done_bytes, last_done);
                      last_done = progress.done_bytes;
                      total = progress.total_bytes;
                    }},
               weights);
  EXPECT_EQ(last_done, total);
  EXPECT_EQ(weights.arena(0).used_bytes(), plan.weight_bytes_in(0) + plan.fixed.vector_bytes);
  EXPECT_EQ(weights.arena(1).used_bytes(), plan.weight_bytes_in(1));

  for (const MatrixId id : program.matrix_ids()) {
    const MatrixDecl& spec = program.matrix(id);
    const TieredTensor& tensor = weights.matrix(id);
    const OperandPlan& planned = plan.operand(spec.name());
    std::vector<float> block(static_cast<size_t>(kRowBlockRows * spec.cols));
    std::vector<float> stored(static_cast<size_t>(spec.cols));
    for (size_t i = 0; i < tensor.blocks.size(); ++i) {
      const auto index = static_cast<int64_t>(i);
      EXPECT_EQ(tensor.blocks[i].tier, planned.tier_of(index));
      unpack_row_block(tensor.blocks[i].data, tensor.rows_in_block(index), spec.cols, tensor.dtype,
                       block.data());
      for (int64_t row = 0; row < tensor.rows_in_block(index); ++row) {
        const auto source = spec.source_of(index * kRowBlockRows + row);
        const StoredTensor* from = files.checkpoint->find(spec.parts[source.part].tensor);
        ASSERT_NE(from, nullptr);
        files.checkpoint->read_rows(*from, source.row, 1, stored);
        ASSERT_TRUE(std::equal(stored.begin(), stored.end(), block.begin() + row * spec.cols))
            << spec.name() << " row " << index * kRowBlockRows + row;
      }
    }
  }
}

// Mode uva: the same values, one row behind the other.
TEST(Loader, RowMajorMatricesHoldTheSameValues) {
  const ModelFiles files = open_model(kData + "hf/qwen3", true);
  const Program program = program_of(files.config, files.naming);
  EngineOptions options{.offload_ratio = 0.5, .context = 64, .dtype = DType::kBF16};
  const Plan packed_plan = plan_model(files, options, cpu_tiers(1e9));
  options.device.backend = Backend::kCuda;
  options.mode = AccessMode::kUva;
  const Plan plan = plan_model(files, options, cpu_tiers(1e9));
  ThreadPool pool(2);
  const auto load = [&](const Plan& from) {
    std::vector<std::unique_ptr<Arena>> arenas;
    for (const Tier& tier : from.tiers) arenas.push_back(make_cpu_arena(tier));
    auto weights = std::make_unique<Weights>(std::move(arenas));
    int64_t done = 0;
    int64_t total = -1;
    load_weights(program, *files.checkpoint, from, pool,
                 {.progress =
                      [&](const Progress& progress) {
                        done = progress.done_bytes;
                        total = progress.total_bytes;
                      }},
                 *weights);
    EXPECT_EQ(done, total);
    EXPECT_LE(weights->arena(1).used_bytes(), from.bytes_in(1));
    return weights;
  };
  const auto packed = load(packed_plan);
  const auto plain = load(plan);
  const std::vector<bool> multiplied = program.matrices_of(StepKind::kProduct);
  for (const MatrixId id : program.matrix_ids()) {
    const MatrixDecl& spec = program.matrix(id);
    const TieredTensor& expected = packed->matrix(id);
    const TieredTensor& found = plain->matrix(id);
    if (!multiplied[static_cast<size_t>(id.index)]) continue;
    ASSERT_EQ(found.layout, WeightLayout::kRowMajor);
    const auto* values = reinterpret_cast<const uint16_t*>(found.blocks[0].data);
    std::vector<float> block(static_cast<size_t>(kRowBlockRows * spec.cols));
    for (int64_t i = 0; i < std::ssize(expected.blocks); ++i) {
      const auto index = static_cast<size_t>(i);
      EXPECT_EQ(found.blocks[index].data,
                found.blocks[0].data + bytes_of(found.dtype, i * kRowBlockRows * spec.cols));
      const int64_t rows = expected.rows_in_block(i);
      unpack_row_block(expected.blocks[index].data, rows, spec.cols, expected.dtype, block.data());
      for (int64_t j = 0; j < rows * spec.cols; ++j) {
        ASSERT_EQ(bf16_to_f32(values[i * kRowBlockRows * spec.cols + j]),
                  block[static_cast<size_t>(j)])
            << spec.name() << " row block " << i;
      }
    }
  }
}

TEST(Loader, BudgetIsAPromise) {
  const ModelFiles files = open_model(kData + "hf/llama_mha", true);
  EngineOptions options{.context = 64};
  const int64_t fixed = plan_model(files, options, cpu_tiers(1e9)).fixed.total_bytes();
  for (const int64_t extra : {int64_t{0}, int64_t{50000}, int64_t{100000}}) {
    options.local_budget_bytes = fixed + extra;
    const Plan plan = plan_model(files, options, cpu_tiers(1e9));
    // Arenas of exactly the plan's size: one byte more would throw.
    std::vector<std::unique_ptr<Arena>> arenas;
    for (size_t i = 0; i < plan.tiers.size(); ++i) {
      Tier tier = plan.tiers[i];
      tier.capacity_bytes = i == 0 ? *options.local_budget_bytes
                                   : std::max<int64_t>(plan.bytes_in(static_cast<TierIndex>(i)), 1);
      arenas.push_back(make_cpu_arena(tier));
    }
    Weights weights(std::move(arenas));
    ThreadPool pool(2);
    const Program program = program_of(files.config, files.naming);
    load_weights(program, *files.checkpoint, plan, pool, {}, weights);
    const Workspace workspace(program, 64, 1, weights.arena(0));
    const KvCache cache(files.config, kv_cache_dtype(files.config, options), 64, weights.arena(0));
    EXPECT_LE(weights.arena(0).used_bytes(), *options.local_budget_bytes);
    EXPECT_EQ(weights.arena(0).used_bytes(), plan.bytes_in(0));
  }
}

}  // namespace
}  // namespace dak
