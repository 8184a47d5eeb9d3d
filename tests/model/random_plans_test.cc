// Decode steps under random plans choose the tokens that they choose with every weight local:
// ratios of weights and of the KV cache, modes, windows, numbers of sequences and ways of sampling
// drawn from a seed, the same body on both backends.
#include <fmt/core.h>

#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <random>
#include <tuple>

#include "engine/decode_loop.h"
#include "support/cuda.h"
#include "support/sampling.h"

namespace dak {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kPast = 7;
constexpr int64_t kSteps = 50;    // of a measurement; the context of the tiny models is not long
constexpr int64_t kAgain = 10;    // from the start again
constexpr int kMeasurements = 4;  // of a plan

struct Measurement {
  int64_t sequences = 1;
  SamplingParams sampling;
};

struct Trial {
  std::string model;
  EngineOptions options;
  std::vector<Measurement> measurements;

  std::string text() const {
    const auto window = options.window_bytes.value_or(0);
    return fmt::format("{}, {}, seed {}, ratio {}, of the cache {}, mode {}, window {}", model,
                       name(*options.dtype), *options.synthetic_seed, *options.offload_ratio,
                       options.kv_ratio, name(options.mode),
                       window == 0 ? "adaptive" : std::to_string(window));
  }
};

std::unique_ptr<Engine> make_engine(const Trial& trial) {
  const ModelFiles files = open_model(test::test_data(DAK_TEST_DATA) + "/model/hf/" + trial.model,
                                      /*need_weights=*/false);
  // Tiers as good for the GPU: the models are tiny.
  return std::make_unique<Engine>(files, trial.options, cpu_tiers(1e9));
}

std::vector<TokenId> tokens_of(Engine& engine, const Measurement& measurement) {
  DecodeLoop loop(engine, measurement.sequences, kPast, /*seed=*/3, measurement.sampling);
  std::vector<TokenId> tokens;
  const auto run = [&](int64_t steps) {
    loop.run(steps);
    const auto last = loop.last_tokens();
    tokens.insert(tokens.end(), last.begin(), last.end());
  };
  for (int64_t done = 0; done < kSteps; done += 10) run(10);
  // From the start again: what the device kept of the first run must not show.
  loop.rewind();
  run(kAgain);
  return tokens;
}

// With every weight local. Engines are kept: making one takes longer than its steps.
class References {
 public:
  Engine& engine_for(Trial trial) {
    trial.options.offload_ratio = 0;
    trial.options.kv_ratio = 0;
    trial.options.mode = AccessMode::kDirect;
    trial.options.window_bytes.reset();
    trial.options.threads = 1;
    auto& engine = engines_[{trial.model, *trial.options.synthetic_seed, *trial.options.dtype}];
    if (engine == nullptr) engine = make_engine(trial);
    return *engine;
  }

 private:
  std::map<std::tuple<std::string, uint64_t, DType>, std::unique_ptr<Engine>> engines_;
};

Measurement draw_measurement(std::mt19937& random) {
  Measurement result{.sequences = 1 + static_cast<int64_t>(random() % 9), .sampling = {}};
  if (random() % 2 == 0) {
    const DrawParams draw = test::random_draw(random);
    result.sampling = {.temperature = draw.temperature,
                       .top_k = draw.top_k,
                       .top_p = draw.top_p,
                       .min_p = draw.min_p,
                       .seed = draw.seed};
    if (random() % 4 == 0) result.sampling.repetition_penalty = 1.2f;
  }
  return result;
}

Trial draw(std::mt19937& random, const std::vector<std::string>& models, Backend backend) {
  Trial trial;
  trial.model = models[random() % models.size()];
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
    if (trial.options.mode == AccessMode::kDirect) {
      if (random() % 3 == 0) trial.options.window_bytes = 8192 << random() % 10;
    }
  }
  for (int i = 0; i < kMeasurements; ++i) trial.measurements.push_back(draw_measurement(random));
  return trial;
}

void run_trials(int trials, Backend backend) {
  std::mt19937 random(20261123);
  const std::vector<std::string> models{"smollm2", "opt", "qwen3", "llama3_gqa"};
  References references;
  for (int i = 0; i < trials; ++i) {
    const Trial trial = draw(random, models, backend);
    fmt::print("trial {} of {}: {}: ", i + 1, trials, trial.text());
    std::fflush(stdout);  // before what may hang
    const auto start = Clock::now();
    const auto engine = make_engine(trial);
    const auto made = Clock::now();
    for (const Measurement& measurement : trial.measurements) {
      EXPECT_EQ(tokens_of(*engine, measurement),
                tokens_of(references.engine_for(trial), measurement))
          << measurement.sequences << " sequences, temperature "
          << measurement.sampling.temperature;
    }
    const auto milliseconds = [](Clock::duration time) {
      return std::chrono::duration<double, std::milli>(time).count();
    };
    fmt::print("engine {:.0f} ms, steps {:.0f} ms\n", milliseconds(made - start),
               milliseconds(Clock::now() - made));
  }
}

TEST(RandomPlans, ChooseTheSameTokensOnTheCpu) { run_trials(12, Backend::kCpu); }

TEST(RandomPlans, ChooseTheSameTokensOnAGpu) {
  if (const std::string reason = test::no_gpu(); !reason.empty()) GTEST_SKIP() << reason;
  constexpr int kTrials = 42;
  static_assert(kTrials * kMeasurements * (kSteps + kAgain) >= 10000);
  run_trials(kTrials, Backend::kCuda);
}

}  // namespace
}  // namespace dak
