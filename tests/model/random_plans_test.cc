// Decode steps under random plans choose the tokens that they choose with every weight local:
// ratios of weights and of the KV cache, modes, windows and numbers of sequences drawn from a seed,
// the same body on both backends.
#include <random>

#include "engine/decode_loop.h"
#include "support/cuda.h"

namespace dak {
namespace {

constexpr int64_t kPast = 7;
constexpr int64_t kSteps = 50;  // of a measurement; the context of the tiny models is not long

struct Trial {
  std::string model;
  int64_t sequences = 1;
  EngineOptions options;
};

std::vector<TokenId> tokens_of(const Trial& trial) {
  const ModelFiles files = open_model(test::test_data(DAK_TEST_DATA) + "/model/hf/" + trial.model,
                                      /*need_weights=*/false);
  Engine engine(files, trial.options, cpu_tiers(1e9));  // as good for the GPU: the models are tiny
  DecodeLoop loop(engine, trial.sequences, kPast, /*seed=*/3);
  std::vector<TokenId> tokens;
  for (int64_t done = 0; done < kSteps; done += 10) {
    loop.run(10);
    const auto last = loop.last_tokens();
    tokens.insert(tokens.end(), last.begin(), last.end());
  }
  // From the start again: what the device kept of the first run must not show.
  loop.rewind();
  loop.run(10);
  const auto last = loop.last_tokens();
  tokens.insert(tokens.end(), last.begin(), last.end());
  return tokens;
}

Trial draw(std::mt19937& random, const std::vector<std::string>& models, Backend backend) {
  Trial trial;
  trial.model = models[random() % models.size()];
  trial.sequences = 1 + random() % 9;
  trial.options = {.device = {.backend = backend},
                   .threads = 1 + static_cast<int>(random() % 2),
                   .offload_ratio = static_cast<double>(random() % 1001) / 1000,
                   .context = kPast + kSteps,
                   .sequences = 9,
                   .synthetic_seed = random() % 3,
                   .dtype = random() % 2 == 0 ? DType::kBF16 : DType::kF16};
  if (random() % 2 == 0) trial.options.kv_ratio = static_cast<double>(random() % 1001) / 1000;
  if (backend == Backend::kCuda) {
    if (random() % 3 == 0) trial.options.mode = AccessMode::kPrefetch;
    if (trial.options.mode == AccessMode::kDirect && random() % 3 == 0) {
      trial.options.window_bytes = 8192 << random() % 10;
    }
  }
  return trial;
}

void run_trials(int trials, Backend backend) {
  std::mt19937 random(20261123);
  const std::vector<std::string> models{"smollm2", "opt", "qwen3", "llama3_gqa"};
  for (int i = 0; i < trials; ++i) {
    const Trial trial = draw(random, models, backend);
    Trial local = trial;
    local.options.offload_ratio = 0;
    local.options.kv_ratio = 0;
    local.options.mode = AccessMode::kDirect;
    local.options.window_bytes.reset();
    local.options.threads = 1;
    EXPECT_EQ(tokens_of(trial), tokens_of(local))
        << trial.model << ", " << trial.sequences << " sequences, ratio "
        << *trial.options.offload_ratio << ", of the cache " << trial.options.kv_ratio << ", mode " << name(trial.options.mode);
  }
}

TEST(RandomPlans, ChooseTheSameTokensOnTheCpu) { run_trials(12, Backend::kCpu); }

// 10,000 steps.
TEST(RandomPlans, ChooseTheSameTokensOnAGpu) {
  if (const std::string reason = test::no_gpu(); !reason.empty()) GTEST_SKIP() << reason;
  run_trials(10000 / (kSteps + 10), Backend::kCuda);
}

}  // namespace
}  // namespace dak
