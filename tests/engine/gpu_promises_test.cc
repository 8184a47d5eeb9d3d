// What an engine promises of a GPU as a whole: its budget, and a clean end when the GPU fails.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>

#include "engine/decode_loop.h"
#include "kernels/cuda_check.h"
#include "kernels/random_fill.h"
#include "support/cuda.h"

namespace dak {
namespace {

std::unique_ptr<Engine> make_engine(const EngineOptions& options) {
  return std::make_unique<Engine>(
      open_model(test::test_data(DAK_TEST_DATA) + "/model/hf/smollm2", true), options,
      cpu_tiers(1e9));
}

GenerateRequest request(int64_t prompt_tokens) {
  GenerateRequest request{.prompt = {}, .max_tokens = 40, .ignore_eos = true};
  for (int64_t i = 0; i < prompt_tokens; ++i) {
    request.prompt.push_back(static_cast<TokenId>(i * 37 % 250));
  }
  return request;
}

int64_t used_bytes() {
  cuda_check(cudaDeviceSynchronize());
  size_t free = 0;
  size_t total = 0;
  cuda_check(cudaMemGetInfo(&free, &total));
  return static_cast<int64_t>(total - free);
}

class GpuPromises : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = test::no_gpu(); !reason.empty()) GTEST_SKIP() << reason;
    testing::FLAGS_gtest_death_test_style = "threadsafe";
  }
};

// Needs a GPU that no other process takes memory of. Weights of 15 GiB, a part of them on the host,
// and a prompt that needs the rings of the GEMM; many sequences, whose steps do, with copies of
// weights and KV pages. Steps of every number of rows are recorded.
TEST_F(GpuPromises, TheDriverSeesNoMoreMemoryInUseThanTheBudget) {
  const std::string config = test::test_data(DAK_TEST_DATA) + "/../../configs/llama-3.1-8b";
  const auto serve = [](Engine& engine) {
    const int64_t prompt = std::min<int64_t>(600, engine.context() - 1);
    EXPECT_EQ(DecodeLoop::prefill(engine, prompt, 1).tokens, prompt);
    DecodeLoop loop(engine, engine.sequences(), engine.context() - 80, 1);
    EXPECT_EQ(std::ssize(loop.run(70).step_seconds), 70);
  };
  struct Case {
    double budget_gib;
    int64_t sequences;
    int64_t context;
    AccessMode mode;
  };
  constexpr std::array kCases{
      // Kernels are loaded at their first use, and stay.
      Case{14.5, 4, 2048, AccessMode::kDirect}, Case{16, 200, 192, AccessMode::kPrefetch},
      // These are looked at.
      Case{14.5, 4, 2048, AccessMode::kDirect}, Case{15, 64, 192, AccessMode::kDirect},
      Case{16, 200, 192, AccessMode::kPrefetch}, Case{16, 200, 192, AccessMode::kDirect}};
  constexpr size_t kFirst = 2;
  int64_t before = 0;
  for (size_t i = 0; i < kCases.size(); ++i) {
    const Case& one = kCases[i];
    const EngineOptions options{
        .device = {.backend = Backend::kCuda},
        .local_budget_bytes = static_cast<int64_t>(one.budget_gib * (1 << 30)),
        .kv_ratio = 0.5,
        .context = one.context,
        .sequences = one.sequences,
        .mode = one.mode,
        .synthetic_seed = 1,
        .dtype = DType::kBF16};
    {
      const auto engine =
          std::make_unique<Engine>(open_model(config, false), options, cuda_tiers(0));
      const int64_t loaded = used_bytes() - before;
      engine->warm_up(0);  // one step
      const int64_t one_step = used_bytes() - before;
      const Engine::WarmUp warm_up = engine->warm_up();
      EXPECT_EQ(warm_up.recorded, warm_up.steps);
      const int64_t recorded = used_bytes() - before;
      serve(*engine);
      const int64_t served = used_bytes() - before;
      if (i >= kFirst) {
        EXPECT_LE(served, *options.local_budget_bytes);
        EXPECT_GE(loaded, int64_t{12} << 30);            // or what is measured is something else
        EXPECT_EQ(engine->recordings(), warm_up.steps);  // no step was recorded again
        printf(
            "budget %.2f GiB: %.3f in use once loaded, %.3f with one recorded step, %.3f with %lld "
            "(%.2f s more), %.3f after a prompt and steps\n",
            one.budget_gib, static_cast<double>(loaded) / (1 << 30),
            static_cast<double>(one_step) / (1 << 30), static_cast<double>(recorded) / (1 << 30),
            static_cast<long long>(warm_up.recorded), warm_up.seconds,
            static_cast<double>(served) / (1 << 30));
      }
    }
    EXPECT_TRUE(i < kFirst || used_bytes() == before) << used_bytes() - before;
    before = used_bytes();
  }
}

// In a process of its own: a kernel that writes where nothing is, as a failing GPU or driver does,
// spoils the whole context. The next token is an error with CUDA's reason; all is taken down
// without a hang.
[[noreturn]] void fail_in_the_middle() {
  alarm(100);
  int code = 1;
  try {
    const auto engine = make_engine({.device = {.backend = Backend::kCuda},
                                     .offload_ratio = 0.5,
                                     .context = 256,
                                     .dtype = DType::kBF16});
    Session session(*engine);
    GenerateRequest failing = request(20);
    int64_t tokens = 0;
    failing.on_token = [&tokens](TokenId, std::string_view) {
      if (++tokens != 5) return;
      random_fill(reinterpret_cast<void*>(uintptr_t{1} << 20), {.count = 1 << 16}, nullptr);
    };
    try {
      session.generate(failing);
    } catch (const Error& error) {
      fprintf(stderr, "after %lld tokens: %s\n", static_cast<long long>(tokens), error.what());
      code = 0;
    }
  } catch (const std::exception& error) {
    fprintf(stderr, "elsewhere: %s\n", error.what());
    code = 2;
  }
  exit(code);
}

TEST_F(GpuPromises, AGpuThatFailsInTheMiddleIsAnErrorWithItsReason) {
  EXPECT_EXIT(fail_in_the_middle(), testing::ExitedWithCode(0),
              "after [5-9] tokens: .*CUDA.*cudaErrorIllegalAddress");
}

}  // namespace
}  // namespace dak
