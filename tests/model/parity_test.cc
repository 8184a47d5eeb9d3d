// Every family against Hugging Face transformers in float64, and bitwise equality over placement.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "plan/pass_bytes.h"
#include "support/golden.h"
#include "support/loaded_model.h"

namespace dak {
namespace {

const std::string kData = std::string(DAK_TEST_DATA) + "/model/";

struct Case {
  const char* golden;
  std::optional<DType> dtype = {};  // as stored if not given
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.golden; }

int32_t argmax(const float* row, int64_t count) {
  return static_cast<int32_t>(std::max_element(row, row + count) - row);
}

class Parity : public testing::TestWithParam<Case> {
 protected:
  Golden golden_ = read_golden(kData + "goldens/" + GetParam().golden + ".json", kData);

  EngineOptions options(double ratio = 0) const {
    return {
        .offload_ratio = ratio, .context = 64, .dtype = GetParam().dtype, .kv_dtype = DType::kF32};
  }
  // The prompt and all but the last of its greedy continuation.
  static std::vector<int32_t> all_tokens(const GoldenPrompt& prompt) {
    std::vector<int32_t> tokens = prompt.ids;
    tokens.insert(tokens.end(), prompt.greedy_ids.begin(), prompt.greedy_ids.end() - 1);
    return tokens;
  }
};

TEST_P(Parity, PrefillAndDecodeMatchTransformers) {
  LoadedModel model(golden_.model_path, options(), 64);
  ASSERT_EQ(model.config().vocabulary, golden_.vocabulary);
  for (const GoldenPrompt& prompt : golden_.prompts) {
    if (prompt.rows == 0) continue;
    const std::vector<int32_t> tokens = all_tokens(prompt);
    ASSERT_EQ(static_cast<int64_t>(tokens.size()), prompt.rows);

    KvHold at_once;
    const std::vector<float> prefill = model.run(at_once, tokens);
    const double error = max_abs_error(prefill.data(), prompt.logits.data(), std::ssize(prefill));
    EXPECT_TRUE(error <= prompt.tolerance)
        << prompt.name << ": prefill error " << error << ", tolerance " << prompt.tolerance;

    // The prompt in pieces, then one token at a time, choosing greedily.
    KvHold stepwise;
    const auto middle = std::ssize(prompt.ids) / 3;
    if (middle > 0) model.run(stepwise, std::span(prompt.ids).first(static_cast<size_t>(middle)));
    std::vector<float> logits =
        model.run(stepwise, std::span(prompt.ids).subspan(static_cast<size_t>(middle)));
    logits.erase(logits.begin(), logits.end() - golden_.vocabulary);
    std::vector<int32_t> greedy;
    for (size_t step = 0; step < prompt.greedy_ids.size(); ++step) {
      const auto row = static_cast<int64_t>(prompt.ids.size() + step) - 1;
      const double step_error = max_abs_error(
          logits.data(), prompt.logits.data() + row * golden_.vocabulary, golden_.vocabulary);
      EXPECT_TRUE(step_error <= prompt.tolerance)
          << prompt.name << ": step " << step << " error " << step_error << ", tolerance "
          << prompt.tolerance;
      greedy.push_back(argmax(logits.data(), golden_.vocabulary));
      logits = model.run(stepwise, {&greedy.back(), 1});
    }
    EXPECT_EQ(greedy, prompt.greedy_ids) << prompt.name;
    model.cache().release(at_once);
    model.cache().release(stepwise);
  }
}

TEST_P(Parity, PlacementNeverChangesABit) {
  const GoldenPrompt& prompt = golden_.prompts.front();
  const std::vector<int32_t> tokens = all_tokens(prompt);
  std::vector<float> reference;
  for (const double ratio : {0.0, 0.1, 0.5, 0.9, 1.0}) {
    for (const int threads : {1, 3}) {
      LoadedModel model(golden_.model_path, options(ratio), 64, threads);
      KvHold hold;
      // Both ways through the operations: a long prefill and single tokens.
      std::vector<float> logits = model.run(hold, std::span(tokens).first(tokens.size() - 2));
      for (size_t i = tokens.size() - 2; i < tokens.size(); ++i) {
        const std::vector<float> step = model.run(hold, {&tokens[i], 1});
        logits.insert(logits.end(), step.begin(), step.end());
      }
      if (reference.empty()) reference = logits;
      ASSERT_EQ(logits.size(), reference.size());
      EXPECT_EQ(std::memcmp(logits.data(), reference.data(), logits.size() * sizeof(float)), 0)
          << "ratio " << ratio << ", threads " << threads;
    }
  }
}

TEST_P(Parity, EveryRemoteByteIsReadOnce) {
  LoadedModel model(golden_.model_path, options(0.5), 64);
  KvHold hold;
  model.run(hold, golden_.prompts.front().ids);
  for (const bool decode : {true, false}) {
    const std::vector<int32_t> tokens(decode ? 1 : 20, 3);
    model.ctx().traffic = {};
    const int64_t past = hold.tokens;
    model.run(hold, tokens);
    const TierTraffic planned = decode_weight_traffic(model.plan(), std::ssize(tokens));
    // Look-ups depend on the tokens; matrices do not.
    int64_t lookups = 0;
    int64_t matrices_in_host = 0;
    for (const OperandPlan& entry : model.plan().operands) {
      const int64_t row_bytes = bytes_of(entry.operand.dtype, entry.operand.cols);
      if (entry.operand.use == OperandUse::kLookup || entry.operand.name == "embedding") {
        lookups += std::ssize(tokens) * row_bytes;
      }
      if (entry.operand.use == OperandUse::kMatmul) matrices_in_host += entry.bytes_in(1);
    }
    EXPECT_GT(planned.read_bytes[1], 0);
    EXPECT_GE(model.ctx().traffic.read_bytes[1], matrices_in_host);
    EXPECT_LE(model.ctx().traffic.read_bytes[1], matrices_in_host + lookups);
    EXPECT_GT(past, 0);
  }
}

TEST_P(Parity, SequencesOfABatchDoNotMix) {
  const GoldenPrompt& prompt = golden_.prompts.front();
  LoadedModel model(golden_.model_path, options(0.3), 64);
  const std::vector<std::vector<int32_t>> prompts{{prompt.ids.begin(), prompt.ids.begin() + 5},
                                                  {prompt.ids.begin() + 3, prompt.ids.begin() + 4},
                                                  {prompt.ids.begin(), prompt.ids.begin() + 9}};
  std::vector<float> alone;
  for (const auto& tokens : prompts) {
    KvHold hold;
    model.run(hold, tokens);
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
  EXPECT_TRUE(max_abs_error(together.data(), alone.data(), std::ssize(alone)) <= prompt.tolerance);
}

INSTANTIATE_TEST_SUITE_P(Models, Parity,
                         testing::Values(Case{"llama_mha"}, Case{"llama3_gqa"}, Case{"smollm2"},
                                         Case{"mistral"}, Case{"qwen2"}, Case{"qwen3"}, Case{"opt"},
                                         Case{"opt_post_norm"}, Case{"gguf_llama_f16"},
                                         Case{"gguf_qwen2_f32"}, Case{"gguf_qwen3_f16"},
                                         Case{"gguf_llama_mixed", DType::kF32},
                                         Case{"gguf_llama_k_quants", DType::kF32},
                                         Case{"gguf_llama_k_quants_bf16"}),
                         [](const auto& test) { return std::string(test.param.golden); });

}  // namespace
}  // namespace dak
