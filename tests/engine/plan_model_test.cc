// What is refused before anything is loaded.
#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/engine.h"
#include "support/throws_error.h"

namespace dak {
namespace {

const std::string kConfig = std::string(DAK_TEST_DATA) + "/model/hf/llama_mha/config.json";

Plan plan(const EngineOptions& options) {
  return plan_model(open_model(kConfig, /*need_weights=*/false), options, cpu_tiers(1e9));
}

void expect_refusal(const EngineOptions& options, ErrorCode code,
                    const std::vector<std::string>& parts) {
  EXPECT_TRUE(test::throws_error(code, parts, [&] { plan(options); }));
}

TEST(PlanModel, TheCpuHasNoModesOfALink) {
  for (const AccessMode mode : {AccessMode::kPrefetch, AccessMode::kUva}) {
    expect_refusal({.context = 64, .mode = mode}, ErrorCode::kUnsupported,
                   {"--mode", std::string(name(mode)), "CPU", "--device cuda"});
  }
  expect_refusal({.context = 64, .window_bytes = 1 << 20}, ErrorCode::kUnsupported,
                 {"--window", "1.00 MiB", "CPU"});
}

TEST(PlanModel, AWindowIsOfDirectReadsAndHoldsOne) {
  const Device gpu{.backend = Backend::kCuda};
  for (const AccessMode mode : {AccessMode::kPrefetch, AccessMode::kUva, AccessMode::kResident}) {
    expect_refusal({.device = gpu, .context = 64, .mode = mode, .window_bytes = 1 << 20},
                   ErrorCode::kInvalidArgument, {"--window", std::string(name(mode))});
  }
  expect_refusal({.device = gpu, .context = 64, .window_bytes = 100}, ErrorCode::kInvalidArgument,
                 {"--window", "100 B", "8.00 KiB"});
  const Device plain{.backend = Backend::kCuda, .kernels = KernelKind::kPlain};
  expect_refusal({.device = plain, .context = 64, .window_bytes = 1 << 20}, ErrorCode::kUnsupported,
                 {"--window", "1.00 MiB", "plain", "--kernels tma"});
}

TEST(PlanModel, ResidentKeepsEverythingLocal) {
  EngineOptions remote_kv{.kv_ratio = 0.5};
  remote_kv.mode = AccessMode::kResident;
  expect_refusal(remote_kv, ErrorCode::kInvalidArgument, {"--kv-ratio", "0.5", "resident"});
  const Plan roomy = plan({.context = 64, .mode = AccessMode::kResident});
  EXPECT_EQ(roomy.offload_ratio(), 0);
  const int64_t need = roomy.bytes_in(0);
  EXPECT_EQ(plan({.local_budget_bytes = need, .context = 64, .mode = AccessMode::kResident})
                .offload_ratio(),
            0);
  const EngineOptions short_by_8k{
      .local_budget_bytes = need - 8192, .context = 64, .mode = AccessMode::kResident};
  expect_refusal(short_by_8k, ErrorCode::kResourceExhausted,
                 {"--mode", "resident", "8.00 KiB more", "--local-budget " + std::to_string(need)});
  expect_refusal({.offload_ratio = 0.1, .context = 64, .mode = AccessMode::kResident},
                 ErrorCode::kInvalidArgument, {"--offload-ratio", "0.1", "resident"});
  EXPECT_EQ(
      plan({.offload_ratio = 0, .context = 64, .mode = AccessMode::kResident}).offload_ratio(), 0);
}

TEST(PlanModel, WeightsHaveWhatRemotePagesLeaveOfATier) {
  const ModelFiles files = open_model(kConfig, false);
  for (const PlacementPolicy policy : {PlacementPolicy::kUniform, PlacementPolicy::kGreedy}) {
    EngineOptions options{.offload_ratio = 0.5, .kv_ratio = 0.5, .context = 128};
    options.placement = policy;
    const Plan roomy = plan_model(files, options, cpu_tiers(1e9));
    const int64_t need = roomy.bytes_in(1);
    ASSERT_GT(roomy.fixed.kv_all_remote_bytes(), 0);
    options.host_budget_bytes = need;
    const Plan exact = plan_model(files, options, cpu_tiers(1e9));
    EXPECT_EQ(exact.bytes_in(1), need);
    EXPECT_EQ(exact.tiers[1].capacity_bytes, need);
    options.host_budget_bytes = need - 1;
    EXPECT_TRUE(test::throws_error(ErrorCode::kResourceExhausted,
                                   {"remote tiers", "too small", "--host-budget"},
                                   [&] { plan_model(files, options, cpu_tiers(1e9)); }));
  }
}

TEST(PlanModel, PrefetchBuffersComeOutOfTheBudget) {
  EngineOptions options{.device = {.backend = Backend::kCuda},
                        .offload_ratio = 0.5,
                        .context = 64,
                        .mode = AccessMode::kPrefetch,
                        .dtype = DType::kBF16};
  const Plan half = plan(options);
  EXPECT_GT(half.fixed.prefetch_bytes, 0);
  options.mode = AccessMode::kDirect;
  EXPECT_EQ(half.bytes_in(0), plan(options).bytes_in(0) + half.fixed.prefetch_bytes);

  options.mode = AccessMode::kPrefetch;
  options.offload_ratio.reset();
  options.local_budget_bytes = half.smallest_local_budget_bytes;
  EXPECT_LE(plan(options).bytes_in(0), half.smallest_local_budget_bytes);
  options.local_budget_bytes = half.smallest_local_budget_bytes - 1;
  expect_refusal(options, ErrorCode::kResourceExhausted,
                 {"prefetch buffers", std::to_string(half.smallest_local_budget_bytes)});
}

TEST(PlanModel, BuffersOfKvPagesComeOutOfTheBudget) {
  EngineOptions options{.device = {.backend = Backend::kCuda},
                        .offload_ratio = 0,
                        .kv_ratio = 0.5,
                        .context = 128,
                        .sequences = 5,
                        .mode = AccessMode::kPrefetch,
                        .dtype = DType::kBF16};
  const Plan prefetch = plan(options);
  const ModelConfig config = open_model(kConfig, false).config;
  // Two layers' remote pages: five of ten.
  const int64_t page = 2 * kPageTokens * config.kv_rows() * 2;
  EXPECT_GE(prefetch.fixed.kv_buffer_bytes, 2 * 5 * page);
  EXPECT_LT(prefetch.fixed.kv_buffer_bytes, 2 * (5 * page + kArenaAlignment));
  options.mode = AccessMode::kDirect;
  EXPECT_EQ(plan(options).fixed.kv_buffer_bytes, 0);
  EXPECT_GE(prefetch.bytes_in(0), plan(options).bytes_in(0) + prefetch.fixed.kv_buffer_bytes);
}

TEST(PlanModel, LogitsOfEverySequenceAreInTheBudget) {
  EngineOptions options{.offload_ratio = 0, .context = 64, .sequences = 1, .dtype = DType::kBF16};
  const Plan one = plan(options);
  options.sequences = 500;
  const int64_t vocabulary = open_model(kConfig, false).config.vocabulary;
  EXPECT_GE(plan(options).fixed.activation_bytes,
            one.fixed.activation_bytes + 499 * vocabulary * 4);
}

TEST(PlanModel, UvaMovesWholeMatricesAndPaysForCublas) {
  const Plan uva = plan({.device = {.backend = Backend::kCuda},
                         .offload_ratio = 0.5,
                         .context = 64,
                         .mode = AccessMode::kUva,
                         .dtype = DType::kBF16});
  EXPECT_GT(uva.fixed.uva_bytes, kUvaWorkspaceBytes);
  for (const OperandPlan& entry : uva.operands) {
    EXPECT_EQ(entry.spans.size(), 1u);
    EXPECT_EQ(entry.operand.layout == WeightLayout::kRowMajor,
              entry.operand.use == OperandUse::kMatmul);
  }
  EXPECT_NEAR(uva.offload_ratio(), 0.5, 0.15);
}

}  // namespace
}  // namespace dak
