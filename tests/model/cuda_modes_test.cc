// Access modes on a GPU: prefetch gives the bits of direct and resident, whatever ran before a
// step; uva stays within the tolerance of cuda_test.cc.
#include <cstring>

#include "base/error.h"
#include "engine/decode_loop.h"
#include "support/cuda.h"
#include "support/golden.h"
#include "support/loaded_model.h"
#include "support/throws_error.h"

namespace dak {
namespace {

std::string data() { return test::test_data(DAK_TEST_DATA) + "/model/"; }

EngineOptions gpu_options(AccessMode mode, double ratio) {
  return {.device = {.backend = Backend::kCuda},
          .offload_ratio = ratio,
          .context = 64,
          .mode = mode,
          .dtype = DType::kBF16};
}

// The prompt in two pieces, then its continuation token by token: logits of every row.
std::vector<float> stepwise(LoadedModel& model, const GoldenPrompt& prompt) {
  KvHold hold;
  std::vector<float> logits;
  const auto run = [&](std::span<const int32_t> tokens) {
    const std::vector<float> part = model.run(hold, tokens);
    logits.insert(logits.end(), part.begin(), part.end());
  };
  const std::span ids(prompt.ids);
  run(ids.first(ids.size() / 3 + 1));
  run(ids.subspan(ids.size() / 3 + 1));
  for (size_t i = 0; i + 1 < prompt.greedy_ids.size(); ++i) run({&prompt.greedy_ids[i], 1});
  model.cache().release(hold);
  return logits;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class CudaModes : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (const std::string reason = test::no_gpu(); !reason.empty()) GTEST_SKIP() << reason;
    golden_ = read_golden(data() + "goldens/" + GetParam() + ".json", data());
  }

  std::unique_ptr<LoadedModel> load(const EngineOptions& options, int64_t max_rows = 64) const {
    return std::make_unique<LoadedModel>(golden_.model_path, options, max_rows);
  }

  Golden golden_;
};

TEST_P(CudaModes, PrefetchHasTheBitsOfDirect) {
  const GoldenPrompt& prompt = golden_.prompts.front();
  const std::vector<float> expected = stepwise(*load(gpu_options(AccessMode::kDirect, 0)), prompt);
  for (const double ratio : {0.0, 0.1, 0.5, 0.9, 1.0}) {
    const auto model = load(gpu_options(AccessMode::kPrefetch, ratio));
    EXPECT_TRUE(same_bits(stepwise(*model, prompt), expected)) << "ratio " << ratio;
    // Once more: the buffers hold what the last pass left.
    EXPECT_TRUE(same_bits(stepwise(*model, prompt), expected)) << "again, ratio " << ratio;
  }
}

TEST_P(CudaModes, PrefetchReadsTheRemotePartOnceAPass) {
  const auto direct = load(gpu_options(AccessMode::kDirect, 0.5), 64);
  const auto prefetch = load(gpu_options(AccessMode::kPrefetch, 0.5), 64);
  const std::vector<int32_t> tokens(prefetch->config().context_length > 64 ? 64 : 40, 5);
  for (LoadedModel* model : {direct.get(), prefetch.get()}) {
    KvHold hold;
    model->ctx().traffic = {};
    model->run(hold, tokens);
    model->cache().release(hold);
  }
  EXPECT_EQ(prefetch->ctx().traffic.read_bytes, direct->ctx().traffic.read_bytes);
}

TEST_P(CudaModes, UvaIsWithinTheTolerance) {
  try {
    check_uva();
  } catch (const Error& error) {
    GTEST_SKIP() << error.what();
  }
  EngineOptions on_cpu = gpu_options(AccessMode::kDirect, 0.5);
  on_cpu.device = {};
  on_cpu.kv_dtype = DType::kF32;
  LoadedModel cpu(golden_.model_path, on_cpu, 64);
  const GoldenPrompt& prompt = golden_.prompts.front();
  const std::vector<float> exact = stepwise(cpu, prompt);
  cpu.ctx().round_matmul_inputs = true;
  const std::vector<float> naive = stepwise(cpu, prompt);
  const double tolerance = 2 * max_abs_error(naive.data(), exact.data(), std::ssize(exact));
  for (const double ratio : {0.0, 0.5, 1.0}) {
    EngineOptions options = gpu_options(AccessMode::kUva, ratio);
    options.kv_dtype = DType::kF32;
    const auto model = load(options);
    const std::vector<float> ours = stepwise(*model, prompt);
    ASSERT_EQ(ours.size(), exact.size());
    const double error = max_abs_error(ours.data(), exact.data(), std::ssize(exact));
    EXPECT_TRUE(error <= tolerance)
        << "ratio " << ratio << ": error " << error << ", tolerance " << tolerance;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, CudaModes,
                         testing::Values("smollm2", "llama3_gqa", "qwen2", "opt", "opt_post_norm"),
                         [](const auto& test) { return std::string(test.param); });

class CudaModeEngines : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = test::no_gpu(); !reason.empty()) GTEST_SKIP() << reason;
  }

  static void append(std::vector<TokenId>& all, DecodeLoop& loop, int64_t steps) {
    for (int64_t i = 0; i < steps; ++i) {
      loop.run(1);
      all.insert(all.end(), loop.last_tokens().begin(), loop.last_tokens().end());
    }
  }

  static EngineOptions with_chunks(EngineOptions options) {
    options.context = 60;
    options.sequences = 3;
    options.prefill_chunk = 7;  // all chunks but the last leave the lm_head out
    return options;
  }

  // 111 steps of recorded graphs for one sequence and for three, in turns, prompts between them.
  static std::vector<TokenId> tokens_of(Engine& engine, bool with_prompts) {
    std::vector<TokenId> all;
    const auto answer = [&](int length) {
      if (!with_prompts) return;
      GenerateRequest request{.max_tokens = 5, .ignore_eos = true};
      for (int i = 0; i < length; ++i) request.prompt.push_back(5 + i * 37 % 150);
      Session session(engine);
      const GenerateResult result = session.generate(request);
      all.insert(all.end(), result.tokens.begin(), result.tokens.end());
      request.sampling.repetition_penalty = 1.1f;  // graphs that leave the choice to the host
      Session sampled(engine);
      const GenerateResult other = sampled.generate(request);
      all.insert(all.end(), other.tokens.begin(), other.tokens.end());
    };
    for (int round = 0; round < 3; ++round) {
      {
        DecodeLoop one(engine, 1, 12, 1);
        append(all, one, 15);
        one.run(5);  // with a step in flight
        append(all, one, 2);
      }
      answer(20 + round);
      DecodeLoop three(engine, 2 + round % 2, 12, 2);
      append(all, three, 15);
      three.rewind();
      append(all, three, 1);
    }
    answer(33);
    return all;
  }
};

TEST_F(CudaModeEngines, PrefetchChoosesTheTokensOfDirect) {
  for (const char* name : {"smollm2", "opt"}) {
    const bool tokenizer = std::string_view(name) == "smollm2";
    const std::string path =
        data() + "hf/" + name + (tokenizer ? "" : "/config.json");  // opt: synthetic weights
    const ModelFiles files = open_model(path, tokenizer);
    const auto tokens = [&](EngineOptions options) {
      options = with_chunks(options);
      if (!tokenizer) options.synthetic_seed = 1;
      Engine engine(files, options, cpu_tiers(1e9));
      return tokens_of(engine, tokenizer);
    };
    const std::vector<TokenId> expected = tokens(gpu_options(AccessMode::kDirect, 0));
    for (const double ratio : {0.1, 0.5, 1.0}) {
      EXPECT_EQ(tokens(gpu_options(AccessMode::kPrefetch, ratio)), expected)
          << name << ", ratio " << ratio;
    }
    // Under a budget that leaves less than half of the weights in HBM; the arena holds no more.
    EngineOptions options = gpu_options(AccessMode::kPrefetch, 1);
    options.context = 60;
    options.sequences = 3;
    options.prefill_chunk = 7;
    const Plan all_remote = plan_model(files, options, cpu_tiers(1e9));
    options.offload_ratio.reset();
    options.local_budget_bytes =
        all_remote.smallest_local_budget_bytes + all_remote.weight_bytes() / 4;
    EXPECT_EQ(tokens(options), expected) << name;
  }
}

// A penalty too small to change a logit leaves the choice to the host.
TEST_F(CudaModeEngines, AGraphChoosesWhatTheHostChooses) {
  const ModelFiles files = open_model(data() + "hf/smollm2", true);
  for (const KernelKind kernels : {KernelKind::kAuto, KernelKind::kPlain}) {
    EngineOptions options = gpu_options(AccessMode::kDirect, 0.5);
    options.device.kernels = kernels;
    options.context = 200;
    Engine engine(files, options, cpu_tiers(1e9));
    for (const SamplingParams& params : std::vector<SamplingParams>{
             {},
             {.temperature = 1, .seed = 1},
             {.temperature = 0.8f, .top_k = 40, .seed = 2},
             {.temperature = 1.2f, .top_p = 0.9f, .seed = 3},
             {.temperature = 1, .min_p = 0.02f, .seed = 4},
             {.temperature = 0.9f, .top_k = 100, .top_p = 0.95f, .min_p = 0.001f, .seed = 5}}) {
      const auto answer = [&](float presence_penalty) {
        Session session(engine);
        GenerateRequest request{.prompt = {5, 17, 250, 3, 99},
                                .sampling = params,
                                .max_tokens = 150,
                                .ignore_eos = true};
        request.sampling.presence_penalty = presence_penalty;
        return session.generate(request).tokens;
      };
      const std::vector<TokenId> by_graph = answer(0);
      EXPECT_EQ(by_graph.size(), 150U);
      EXPECT_EQ(by_graph, answer(1e-30f)) << name(kernels) << ", seed " << params.seed;
    }
  }
}

// Their links count what is read and have no window.
TEST_F(CudaModeEngines, PlainKernelsHaveNoWindow) {
  const ModelFiles files = open_model(data() + "hf/smollm2", true);
  EngineOptions options = gpu_options(AccessMode::kDirect, 0.5);
  options.device.kernels = KernelKind::kPlain;
  Engine engine(files, options, cpu_tiers(1e9));
  DecodeLoop loop(engine, 1, 12, 1);
  loop.run(1);  // records the step, for which it runs it once more
  const int64_t before = link_status(*engine.cuda(), 1).read_bytes;
  constexpr int64_t kSteps = 5;
  const int64_t counted = loop.run(kSteps).traffic.read_bytes[1];
  const LinkStatus link = link_status(*engine.cuda(), 1);
  EXPECT_GT(counted, 0);
  // A row of the embedding is no product's, and is not counted on the link.
  const int64_t row_bytes = 2 * engine.config().hidden;
  EXPECT_LE(link.read_bytes - before, counted);
  EXPECT_GE(link.read_bytes - before, counted - kSteps * row_bytes);
  EXPECT_EQ(link.window_bytes, 0);
  const CudaBackendPtr backend = make_cuda_backend(0, KernelKind::kPlain);
  EXPECT_TRUE(test::throws_error(ErrorCode::kUnsupported,
                                 {"--window", "the plain kernels have none; omit it"},
                                 [&] { set_fixed_window(*backend, 1, 1 << 20); }));
}

TEST_F(CudaModeEngines, UvaChoosesTheSameTokensWhereverTheWeightsLie) {
  try {
    check_uva();
  } catch (const Error& error) {
    GTEST_SKIP() << error.what();
  }
  const ModelFiles files = open_model(data() + "hf/smollm2", true);
  std::vector<TokenId> expected;
  for (const double ratio : {0.0, 0.5, 1.0}) {
    Engine engine(files, with_chunks(gpu_options(AccessMode::kUva, ratio)), cpu_tiers(1e9));
    const std::vector<TokenId> tokens = tokens_of(engine, true);
    if (expected.empty()) expected = tokens;
    EXPECT_EQ(tokens, expected) << "ratio " << ratio;
  }
}

}  // namespace
}  // namespace dak
