// The real SmolLM2-135M-Instruct against transformers in float64 on the same dequantised weights.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "support/golden.h"
#include "support/loaded_model.h"

namespace dak {
namespace {

const std::string kGolden = std::string(DAK_TEST_DATA) + "/model/smollm2/smollm2.json";

class SmolLm2 : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    golden_ = new Golden(read_golden(kGolden, DAK_TEST_DATA));
    engine_ = new Engine(open_model(DAK_MODEL, true),
                         {.offload_ratio = 0.5, .context = 2048, .kv_dtype = DType::kF32},
                         cpu_tiers(1e9));
  }
  static void TearDownTestSuite() {
    delete engine_;
    delete golden_;
  }
  static Golden* golden_;
  static Engine* engine_;
};
Golden* SmolLm2::golden_ = nullptr;
Engine* SmolLm2::engine_ = nullptr;

TEST_F(SmolLm2, LogitsMatchTransformers) {
  LoadedModel model(DAK_MODEL, {.offload_ratio = 0.5, .context = 2048, .kv_dtype = DType::kF32},
                    1024);
  ASSERT_GE(golden_->prompts.size(), 5u);
  for (const GoldenPrompt& prompt : golden_->prompts) {
    KvHold hold;
    const std::vector<float> last = model.run_batch({&hold}, {prompt.ids});
    const double error = max_abs_error(last.data(), prompt.logits.data(), std::ssize(last));
    EXPECT_TRUE(error <= prompt.tolerance)
        << prompt.name << ": error " << error << ", tolerance " << prompt.tolerance;
    RecordProperty(prompt.name, std::to_string(error / prompt.tolerance));
    model.cache().release(hold);
  }
}

TEST_F(SmolLm2, GreedyTextIsTransformers) {
  for (const GoldenPrompt& prompt : golden_->prompts) {
    Session session(*engine_);
    const GenerateResult result = session.generate(
        {.prompt = prompt.ids, .max_tokens = std::ssize(prompt.greedy_ids), .ignore_eos = true});
    EXPECT_EQ(result.tokens, prompt.greedy_ids) << prompt.name;
    if (prompt.json.contains("text")) {
      EXPECT_EQ(engine_->tokenizer().decode(result.tokens), prompt.json.at("text"));
    }
  }
}

TEST_F(SmolLm2, TokenizesPromptsAsTransformers) {
  for (const GoldenPrompt& prompt : golden_->prompts) {
    if (!prompt.json.contains("prompt")) continue;
    EXPECT_EQ(engine_->tokenizer().encode(prompt.json.at("prompt").get<std::string>(),
                                          {.add_special_tokens = false}),
              prompt.ids);
    if (!prompt.json.contains("messages")) continue;
    ChatInput input;
    input.messages = OrderedJson::parse(prompt.json.at("messages").dump());
    EXPECT_EQ(engine_->chat_prompt(input), prompt.ids) << prompt.name;
  }
}

TEST_F(SmolLm2, PlacementNeverChangesABit) {
  const GoldenPrompt& prompt = golden_->prompts.front();
  std::vector<float> reference;
  for (const double ratio : {0.0, 0.1, 0.5, 0.9, 1.0}) {
    LoadedModel model(DAK_MODEL, {.offload_ratio = ratio, .context = 1024}, 256);
    KvHold hold;
    std::vector<float> logits =
        model.run(hold, std::span(prompt.ids).first(std::min<size_t>(prompt.ids.size(), 40)));
    const std::vector<float> step = model.run(hold, {prompt.ids.data(), 1});
    logits.insert(logits.end(), step.begin(), step.end());
    if (reference.empty()) reference = logits;
    EXPECT_EQ(std::memcmp(logits.data(), reference.data(), logits.size() * sizeof(float)), 0)
        << "ratio " << ratio;
  }
}

// A fact at the start of a long context is found with every page local and with nine tenths of the
// cache in host memory, and the text is the same.
TEST_F(SmolLm2, FindsANeedleInRemotePages) {
  std::string text = "The secret word of the island is: marmalade. Remember it.\n\n";
  for (int i = 0; i < 60; ++i) {
    text += fmt::format("Day {}: the weather was mild and the boats went out as usual.\n", i + 1);
  }
  text +=
      "\nQuestion: what is the secret word of the island?\nAnswer: The secret word of the island "
      "is:";
  std::string expected;
  for (const double ratio : {0.0, 0.9}) {
    Engine engine(open_model(DAK_MODEL, true),
                  {.offload_ratio = 0.5, .kv_ratio = ratio, .context = 2048}, cpu_tiers(1e9));
    Session session(engine);
    const GenerateResult result = session.generate(
        {.prompt = engine.tokenizer().encode(text), .max_tokens = 12, .ignore_eos = true});
    EXPECT_NE(result.text.find("marmalade"), std::string::npos) << result.text;
    if (expected.empty()) expected = result.text;
    EXPECT_EQ(result.text, expected) << "ratio " << ratio;
    EXPECT_GT(std::ssize(engine.tokenizer().encode(text)), 800);
  }
}

int64_t status_kib(const std::string& key) {
  std::ifstream file("/proc/self/status");
  std::string word;
  int64_t value = 0;
  while (file >> word) {
    if (word == key + ":" && file >> value) return value;
  }
  return -1;
}

// The peak while loading is the model once, not a second copy of it or of the file.
TEST_F(SmolLm2, LoadingNeverHoldsTheModelTwice) {
  std::ofstream("/proc/self/clear_refs") << "5";  // resets the peak
  const int64_t before_kib = status_kib("VmRSS");
  ASSERT_LT(status_kib("VmHWM"), before_kib + 65536) << "the peak was not reset";
  const Engine engine(open_model(DAK_MODEL, true), {.offload_ratio = 0.5, .context = 128},
                      cpu_tiers(1e9));
  const int64_t grown_bytes = (status_kib("VmHWM") - before_kib) * 1024;
  const int64_t weights = engine.plan().weight_bytes();
  EXPECT_GT(grown_bytes, weights / 2);
  EXPECT_LT(grown_bytes, weights * 5 / 4) << "weights " << weights;
}

// A tier that is given back frees its memory: the process is no larger with what has moved.
TEST_F(SmolLm2, ATierGivenBackIsFreed) {
  std::vector<Tier> tiers = cpu_tiers(1e9);
  tiers.push_back(tiers[1]);
  tiers[2].name = "host:0";
  tiers[1].capacity_bytes = int64_t{100} << 20;
  Engine engine(open_model(DAK_MODEL, true), {.offload_ratio = 0.8, .context = 256}, tiers);
  const int64_t moved = engine.plan().bytes_in(1);
  ASSERT_GT(moved, int64_t{90} << 20);
  const int64_t before_kib = status_kib("VmRSS");
  engine.revoke_tier("host");
  EXPECT_LT((status_kib("VmRSS") - before_kib) * 1024, moved / 4);
  EXPECT_EQ(engine.plan().bytes_in(1), 0);
}

}  // namespace
}  // namespace dak
