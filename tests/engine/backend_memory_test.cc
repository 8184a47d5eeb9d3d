// The estimate of what the CUDA backend allocates, against the schedules that it makes.
#include "engine/backend_memory.h"

#include <gtest/gtest.h>

#include <random>

#include "engine/engine.h"
#include "kernels/split_schedule.h"
#include "ops/cuda/prefill_schedule.h"

namespace dak {
namespace {

// Addresses are only carried along.
TieredTensor placed(const Operand& operand, double ratio, int tiers, std::mt19937& random) {
  TieredTensor tensor{.name = "w",
                      .dtype = operand.dtype,
                      .rows = operand.rows,
                      .cols = operand.cols,
                      .blocks = {}};
  std::uniform_real_distribution<double> uniform(0, 1);
  for (int64_t i = 0; i < operand.blocks(); ++i) {
    const bool remote = uniform(random) < ratio;
    const auto tier = remote ? 1 + random() % static_cast<unsigned>(tiers - 1) : 0U;
    tensor.blocks.push_back({.data = reinterpret_cast<std::byte*>(4096 * (i + 1)),
                             .tier = static_cast<TierIndex>(tier)});
  }
  return tensor;
}

TEST(BackendMemory, NoScheduleTakesMoreThanEstimated) {
  std::mt19937 random(7);
  for (int trial = 0; trial < 60; ++trial) {
    const Operand operand{.name = "w",
                          .rows = 64 * (1 + static_cast<int64_t>(random() % 600)) - 8,
                          .cols = 64 * (1 + static_cast<int64_t>(random() % 480)),
                          .dtype = DType::kBF16};
    const SplitMemory estimate = split_matmul_memory({operand});
    const double ratio = std::array{0.0, 0.01, 0.3, 1.0}[random() % 4];
    const TieredTensor weight = placed(operand, ratio, 2 + static_cast<int>(random() % 3), random);
    const int sm_count = std::array{132, 192}[random() % 2];
    int64_t schedules = 0;
    for (const int tile : {16, 32, 64}) {
      const SplitSchedule schedule = make_split_schedule(weight, tile, sm_count);
      schedules += std::ssize(schedule.items) * static_cast<int64_t>(sizeof(WorkItem));
      EXPECT_LE(int64_t{schedule.slot_count} * kRowBlockRows * tile * 4, estimate.partial_bytes)
          << operand.rows << "x" << operand.cols << ", ratio " << ratio << ", batch " << tile;
    }
    EXPECT_LE(schedules, estimate.schedule_bytes)
        << operand.rows << "x" << operand.cols << ", ratio " << ratio;
  }
}

TEST(BackendMemory, NorDoesAttentionOfAPrompt) {
  ModelConfig config{};
  config.layers = 1;
  config.heads = 14;
  config.kv_heads = 2;
  config.head_size = 64;
  for (const bool remote : {false, true}) {
    for (const int64_t context : {500, 8192, 8193, 100000}) {
      for (const int64_t rows : {16, 512, 8192}) {
        if (rows > context) continue;
        const std::vector<KvPage> pages(static_cast<size_t>(kv_pages_for(context)),
                                        KvPage{.tier = static_cast<TierIndex>(remote ? 1 : 0)});
        const std::vector<KvSequence> sequences{
            {.pages = pages, .past = context - rows, .first_row = 0, .rows = rows}};
        const cuda::PrefillSchedule schedule = cuda::make_prefill_schedule(
            {.heads = config.heads, .kv_heads = config.kv_heads, .head_size = config.head_size},
            sequences);
        const int64_t slots =
            std::min(schedule.items, cuda::kPrefillRingBytes / (4 * kPageTokens * 64));
        const int64_t bytes = (remote ? cuda::kPrefillRingBytes : 0) +
                              schedule.states * cuda::prefill_state_floats(config.head_size) * 4 +
                              4 * (schedule.groups(config.kv_heads) + slots + 2 * schedule.states);
        const int64_t estimate = prefill_attention_bytes(
            config, {.rows = rows, .sequences = 1, .context = context, .remote_kv = remote});
        EXPECT_GE(estimate, bytes) << rows << " rows of " << context << ", remote " << remote;
        EXPECT_LE(estimate, bytes + (int64_t{1} << 20)) << rows << " rows of " << context;
      }
    }
  }
}

TEST(BackendMemory, IsInsideTheBudgetOfAGpuAndNothingOnTheCpu) {
  const ModelFiles files =
      open_model(std::string(DAK_SOURCE_DIR) + "/configs/opt-30b", /*need_weights=*/false);
  std::vector<Tier> tiers = cpu_tiers(1e9);
  for (Tier& tier : tiers) tier.capacity_bytes = int64_t{200} << 30;
  EngineOptions options{.local_budget_bytes = int64_t{40} << 30, .context = 512, .sequences = 8};
  EXPECT_EQ(plan_model(files, options, tiers).fixed.backend_bytes, 0);
  options.device.backend = Backend::kCuda;
  const Plan plan = plan_model(files, options, tiers);
  EXPECT_GT(plan.fixed.backend_bytes, int64_t{32} << 20);
  EXPECT_LT(plan.fixed.backend_bytes, int64_t{512} << 20);
  EXPECT_LE(plan.bytes_in(0), *options.local_budget_bytes);
  EXPECT_GT(plan.bytes_in(0), *options.local_budget_bytes - (int64_t{64} << 20));
  // Rings of twice the size where decode's products are GEMMs.
  options.prefill_chunk = 512;
  options.context = 64;
  const auto backend_bytes = [&](int64_t sequences) {
    options.sequences = sequences;
    return plan_model(files, options, tiers).fixed.backend_bytes;
  };
  EXPECT_GT(backend_bytes(65) - backend_bytes(64), int64_t{64} << 20);
  EXPECT_LT(backend_bytes(64) - backend_bytes(63), int64_t{8} << 20);
}

}  // namespace
}  // namespace dak
