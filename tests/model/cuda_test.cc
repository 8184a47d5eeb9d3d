// Every family on a GPU against the CPU backend, which tests/model/parity_test.cc holds against
// transformers.
//
// Tolerance, by the rule "twice the error of a naive implementation of the same precision": `exact`
// is the CPU backend on the same 16-bit weights with f32 activations; `naive` is the same with the
// inputs of every matmul rounded to the weights' type, as the matrix units take them. What the GPU
// adds on its own (f32 accumulation in another order, which flips some of those roundings) must
// stay within twice the error of `naive`, both against `exact`.
#include "support/cuda.h"

#include <cstring>

#include "plan/bound.h"
#include "support/golden.h"
#include "support/loaded_model.h"
#include "support/throws_error.h"

namespace dak {
namespace {

std::string data() { return test::test_data(DAK_TEST_DATA) + "/model/"; }

struct Case {
  const char* golden;
  DType dtype;
  DType kv_dtype = DType::kF32;
  KernelKind kernels = KernelKind::kAuto;
};

std::string name_of(const Case& c) {
  std::string text = fmt::format("{}_{}_kv_{}", c.golden, name(c.dtype), name(c.kv_dtype));
  if (c.kernels != KernelKind::kAuto) text += fmt::format("_{}", name(c.kernels));
  return text;
}

void PrintTo(const Case& c, std::ostream* out) { *out << name_of(c); }

int32_t argmax(const float* row, int64_t count) {
  return static_cast<int32_t>(std::max_element(row, row + count) - row);
}

// By how much the best of the row leads.
double margin(const float* row, int64_t count) {
  std::vector<float> sorted(row, row + count);
  std::nth_element(sorted.begin(), sorted.begin() + 1, sorted.end(), std::greater<>());
  return static_cast<double>(*std::max_element(row, row + count)) - static_cast<double>(sorted[1]);
}

class CudaParity : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const std::string reason = test::no_gpu(GetParam().kernels);
    if (!reason.empty()) GTEST_SKIP() << reason;
    golden_ = read_golden(data() + "goldens/" + GetParam().golden + ".json", data());
  }

  EngineOptions options(Backend backend, double ratio = 0.5) const {
    return {.device = {.backend = backend, .kernels = GetParam().kernels},
            .offload_ratio = ratio,
            .context = 64,
            .dtype = GetParam().dtype,
            .kv_dtype = GetParam().kv_dtype};
  }

  // The prompt and all but the last of its greedy continuation.
  static std::vector<int32_t> all_tokens(const GoldenPrompt& prompt) {
    std::vector<int32_t> tokens = prompt.ids;
    tokens.insert(tokens.end(), prompt.greedy_ids.begin(), prompt.greedy_ids.end() - 1);
    return tokens;
  }

  // All rows' logits: the prompt in two pieces, then one token at a time.
  static std::vector<float> stepwise(LoadedModel& model, const GoldenPrompt& prompt) {
    const std::vector<int32_t> tokens = all_tokens(prompt);
    KvHold hold;
    std::vector<float> logits;
    const auto run = [&](size_t begin, size_t count) {
      if (count == 0) return;
      const auto part = model.run(hold, std::span(tokens).subspan(begin, count));
      logits.insert(logits.end(), part.begin(), part.end());
    };
    const size_t middle = prompt.ids.size() / 3;
    run(0, middle);
    run(middle, prompt.ids.size() - middle);
    for (size_t i = prompt.ids.size(); i < tokens.size(); ++i) run(i, 1);
    model.cache().release(hold);
    return logits;
  }

  Golden golden_;
};

TEST_P(CudaParity, LogitsAndGreedyTokensMatchTheCpu) {
  LoadedModel gpu(golden_.model_path, options(Backend::kCuda), 64);
  LoadedModel cpu(golden_.model_path, options(Backend::kCpu), 64);
  double worst = 0;
  for (const GoldenPrompt& prompt : golden_.prompts) {
    if (prompt.rows == 0) continue;
    const std::vector<float> exact = stepwise(cpu, prompt);
    cpu.ctx().round_matmul_inputs = true;
    const std::vector<float> naive = stepwise(cpu, prompt);
    cpu.ctx().round_matmul_inputs = false;
    const std::vector<float> ours = stepwise(gpu, prompt);
    ASSERT_EQ(ours.size(), exact.size());
    const double tolerance = 2 * max_abs_error(naive.data(), exact.data(), std::ssize(exact));
    const double error = max_abs_error(ours.data(), exact.data(), std::ssize(exact));
    EXPECT_TRUE(error <= tolerance)
        << prompt.name << ": error " << error << ", tolerance " << tolerance;
    worst = std::max(worst, error / tolerance);
    const int64_t width = golden_.vocabulary;
    for (int64_t row = 0; row < std::ssize(exact) / width; ++row) {
      const float* wanted = exact.data() + row * width;
      if (margin(wanted, width) <= 2 * tolerance) continue;
      EXPECT_EQ(argmax(ours.data() + row * width, width), argmax(wanted, width))
          << prompt.name << ": row " << row;
    }
  }
  RecordProperty("error_of_tolerance", std::to_string(worst));
  std::printf("  error / tolerance %.2f\n", worst);
}

TEST_P(CudaParity, PlacementNeverChangesABit) {
  const GoldenPrompt& prompt = golden_.prompts.front();
  std::vector<float> reference;
  for (const double ratio : {0.0, 0.1, 0.5, 0.9, 1.0}) {
    LoadedModel model(golden_.model_path, options(Backend::kCuda, ratio), 64);
    const std::vector<float> logits = stepwise(model, prompt);
    if (reference.empty()) reference = logits;
    ASSERT_EQ(logits.size(), reference.size());
    EXPECT_EQ(std::memcmp(logits.data(), reference.data(), logits.size() * sizeof(float)), 0)
        << "ratio " << ratio;
  }
}

// Products of more than 64 rows add up in the order of K, whatever the number of rows.
TEST_P(CudaParity, LongPromptsHaveTheSameBitsForEveryChunkAndPlacement) {
  constexpr size_t kLength = 210;
  if (LoadedModel(golden_.model_path, options(Backend::kCuda), 64).config().context_length <
      static_cast<int64_t>(kLength)) {
    GTEST_SKIP() << "the model's context is shorter than three chunks of 70";
  }
  std::vector<int32_t> tokens;
  while (tokens.size() < kLength) {
    for (const int32_t id : golden_.prompts.front().ids) tokens.push_back(id);
  }
  tokens.resize(kLength);
  std::vector<float> reference;
  for (const double ratio : {0.0, 0.5, 1.0}) {
    LoadedModel model(golden_.model_path, options(Backend::kCuda, ratio), kLength);
    for (const size_t chunk : {size_t{70}, size_t{105}, kLength}) {
      KvHold hold;
      std::vector<float> logits;
      for (size_t begin = 0; begin < kLength; begin += chunk) {
        const auto part = model.run(hold, std::span(tokens).subspan(begin, chunk));
        logits.insert(logits.end(), part.begin(), part.end());
      }
      model.cache().release(hold);
      if (reference.empty()) reference = logits;
      ASSERT_EQ(logits.size(), reference.size());
      EXPECT_EQ(std::memcmp(logits.data(), reference.data(), logits.size() * sizeof(float)), 0)
          << "ratio " << ratio << ", chunk " << chunk << ", largest difference "
          << max_abs_error(logits.data(), reference.data(), std::ssize(logits));
    }
  }
}

TEST_P(CudaParity, SequencesOfABatchDoNotMix) {
  const GoldenPrompt& prompt = golden_.prompts.front();
  LoadedModel model(golden_.model_path, options(Backend::kCuda, 0.3), 64);
  const std::vector<std::vector<int32_t>> prompts{{prompt.ids.begin(), prompt.ids.begin() + 5},
                                                  {prompt.ids.begin() + 3, prompt.ids.begin() + 4},
                                                  {prompt.ids.begin(), prompt.ids.begin() + 9}};
  std::vector<float> alone;
  for (const auto& tokens : prompts) {
    KvHold hold;
    model.run_batch({&hold}, {tokens});
    const std::vector<float> step = model.run(hold, {&tokens.back(), 1});
    alone.insert(alone.end(), step.begin(), step.end());
    model.cache().release(hold);
  }
  std::vector<KvHold> holds(prompts.size());
  model.run_batch({&holds[0], &holds[1], &holds[2]}, prompts);
  const std::vector<float> together =
      model.run_batch({&holds[0], &holds[1], &holds[2]},
                      {{prompts[0].back()}, {prompts[1].back()}, {prompts[2].back()}});
  ASSERT_EQ(alone.size(), together.size());
  // Up to 16 rows a matmul cuts K alike, so that not even rounding differs.
  EXPECT_EQ(std::memcmp(together.data(), alone.data(), alone.size() * sizeof(float)), 0)
      << "largest difference " << max_abs_error(together.data(), alone.data(), std::ssize(alone));
}

INSTANTIATE_TEST_SUITE_P(
    Models, CudaParity,
    testing::Values(Case{"llama_mha", DType::kBF16}, Case{"llama3_gqa", DType::kBF16},
                    Case{"llama3_gqa", DType::kF16}, Case{"smollm2", DType::kBF16},
                    Case{"smollm2", DType::kBF16, DType::kBF16}, Case{"mistral", DType::kBF16},
                    Case{"mistral", DType::kF16, DType::kF16}, Case{"qwen2", DType::kBF16},
                    Case{"qwen3", DType::kBF16}, Case{"qwen3", DType::kF16},
                    Case{"opt", DType::kBF16}, Case{"opt", DType::kF16},
                    Case{"opt_post_norm", DType::kBF16}, Case{"gguf_llama_f16", DType::kF16},
                    Case{"gguf_qwen2_f32", DType::kBF16}, Case{"gguf_qwen3_f16", DType::kF16},
                    Case{"gguf_llama_k_quants_bf16", DType::kBF16},
                    Case{"smollm2", DType::kBF16, DType::kBF16, KernelKind::kPlain},
                    Case{"llama3_gqa", DType::kF16, DType::kF16, KernelKind::kPlain},
                    Case{"opt", DType::kBF16, DType::kF32, KernelKind::kPlain},
                    Case{"qwen3", DType::kF16, DType::kF16, KernelKind::kPlain}),
    [](const auto& test) { return name_of(test.param); });

class CudaModel : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = test::no_gpu(); !reason.empty()) GTEST_SKIP() << reason;
  }
};

TEST_F(CudaModel, F32WeightsAreRefusedBeforeLoading) {
  EXPECT_TRUE(
      test::throws_error(ErrorCode::kUnsupported, "the CUDA backend multiplies bf16 and f16", [&] {
        LoadedModel(data() + "hf/llama_mha",
                    {.device = {.backend = Backend::kCuda}, .dtype = DType::kF32}, 8);
      }));
}

// The real model, given as $DAK_MODEL: the GPU's greedy text is the CPU's, but for steps at which
// the CPU's best token leads by less than what rounding to bf16 may move a logit.
TEST_F(CudaModel, GreedyTextOfARealModelIsTheCpus) {
  const char* path = std::getenv("DAK_MODEL");
  if (path == nullptr) GTEST_SKIP() << "DAK_MODEL gives no model";
  const Golden golden =
      read_golden(data() + "smollm2/smollm2.json", test::test_data(DAK_TEST_DATA));
  const auto options = [](Backend backend) {
    return EngineOptions{.device = {.backend = backend},
                         .offload_ratio = 0.5,
                         .context = 2048,
                         .kv_dtype = DType::kF32};
  };
  LoadedModel gpu(path, options(Backend::kCuda), 1024, 1);  // idle threads would spin
  LoadedModel cpu(path, options(Backend::kCpu), 1024, 8);
  const int64_t width = cpu.config().vocabulary;
  for (const GoldenPrompt& prompt : golden.prompts) {
    KvHold on_cpu;
    KvHold rounded_hold;
    KvHold on_gpu;
    std::vector<int32_t> tokens = prompt.ids;
    std::vector<int32_t> wanted;
    std::vector<int32_t> chosen;
    std::vector<double> margins;
    double naive_error = 0;  // the largest over all steps: that of a single step is a lottery
    double error = 0;
    for (size_t step = 0; step < prompt.greedy_ids.size(); ++step) {
      const auto exact = cpu.run_batch({&on_cpu}, {tokens});
      cpu.ctx().round_matmul_inputs = true;
      const auto naive = cpu.run_batch({&rounded_hold}, {tokens});
      cpu.ctx().round_matmul_inputs = false;
      const auto ours = gpu.run_batch({&on_gpu}, {tokens});
      naive_error = std::max(naive_error, max_abs_error(naive.data(), exact.data(), width));
      const double step_error = max_abs_error(ours.data(), exact.data(), width);
      ASSERT_TRUE(std::isfinite(step_error)) << prompt.name << " step " << step;
      error = std::max(error, step_error);
      wanted.push_back(argmax(exact.data(), width));
      chosen.push_back(argmax(ours.data(), width));
      margins.push_back(margin(exact.data(), width));
      tokens = {wanted.back()};
    }
    EXPECT_TRUE(error <= 2 * naive_error)
        << prompt.name << ": error " << error << ", naive " << naive_error;
    int64_t different = 0;
    for (size_t step = 0; step < wanted.size(); ++step) {
      different += chosen[step] != wanted[step];
      if (margins[step] <= 2 * 2 * naive_error) continue;
      EXPECT_EQ(chosen[step], wanted[step]) << prompt.name << " step " << step;
    }
    std::printf("  %s: %zu steps, %lld other tokens, error %.3f, naive %.3f\n", prompt.name.c_str(),
                wanted.size(), static_cast<long long>(different), error, naive_error);
    for (KvHold* hold : {&on_cpu, &rounded_hold}) cpu.cache().release(*hold);
    gpu.cache().release(on_gpu);
  }
}

}  // namespace
}  // namespace dak
