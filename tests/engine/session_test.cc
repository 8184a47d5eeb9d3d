// Generation on tiny models: sessions reuse their cache, stop where they should and never depend on
// what came before.
#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/engine.h"
#include "support/throws_error.h"

namespace dak {
namespace {

const std::string kData = std::string(DAK_TEST_DATA) + "/model/";

std::unique_ptr<Engine> make_engine(const std::string& path, const EngineOptions& options = {}) {
  return std::make_unique<Engine>(open_model(kData + path, true), options, cpu_tiers(1e9));
}

std::vector<TokenId> tokens_of(int count, int seed = 1) {
  std::vector<TokenId> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back(5 + (i * 37 + seed * 11) % 150);
  return tokens;
}

class SessionTest : public testing::Test {
 protected:
  std::unique_ptr<Engine> engine_ =
      make_engine("gguf/llama_mixed.gguf", {.offload_ratio = 0.5, .context = 200});
};

TEST_F(SessionTest, ReusesWhatTheCacheHolds) {
  Session session(*engine_);
  GenerateRequest request{.prompt = tokens_of(20), .max_tokens = 8, .ignore_eos = true};
  const GenerateResult first = session.generate(request);
  EXPECT_EQ(first.reused_tokens, 0);
  EXPECT_EQ(first.prefill.tokens, 20);
  EXPECT_EQ(first.decode.tokens, 7);

  // The conversation goes on: prompt, answer and a new question.
  request.prompt.insert(request.prompt.end(), first.tokens.begin(), first.tokens.end());
  for (const TokenId token : tokens_of(5, 2)) request.prompt.push_back(token);
  const GenerateResult second = session.generate(request);
  EXPECT_EQ(second.reused_tokens, 27);
  EXPECT_EQ(second.prefill.tokens, 6);

  Session fresh(*engine_);
  EXPECT_EQ(fresh.generate(request).tokens, second.tokens);
}

TEST_F(SessionTest, AnEditedPromptIsReadAgainFromWhereItDiffers) {
  Session session(*engine_);
  GenerateRequest request{.prompt = tokens_of(30), .max_tokens = 4, .ignore_eos = true};
  session.generate(request);
  request.prompt[10] = 3;
  const GenerateResult edited = session.generate(request);
  EXPECT_EQ(edited.reused_tokens, 10);
  Session fresh(*engine_);
  EXPECT_EQ(fresh.generate(request).tokens, edited.tokens);
}

TEST_F(SessionTest, TheSamePromptTwiceGivesTheSameAnswer) {
  Session session(*engine_);
  const GenerateRequest request{.prompt = tokens_of(30), .max_tokens = 4, .ignore_eos = true};
  const GenerateResult first = session.generate(request);
  const GenerateResult again = session.generate(request);
  EXPECT_EQ(again.reused_tokens, 29);
  EXPECT_EQ(again.tokens, first.tokens);
}

TEST_F(SessionTest, StopsWhenTheContextIsFull) {
  Session session(*engine_);
  const GenerateResult result = session.generate({.prompt = tokens_of(190), .ignore_eos = true});
  EXPECT_EQ(result.reason, FinishReason::kContextFull);
  EXPECT_EQ(std::ssize(result.tokens), 11);  // 10 that fit and the one they lead to
}

TEST_F(SessionTest, RefusesWhatCannotRun) {
  Session session(*engine_);
  EXPECT_TRUE(test::throws_error(ErrorCode::kInvalidArgument, "prompt: is empty",
                                 [&] { session.generate({.prompt = {}}); }));
  EXPECT_TRUE(
      test::throws_error(ErrorCode::kInvalidArgument,
                         "prompt: length '200 tokens': does not fit the context of 200 tokens",
                         [&] { session.generate({.prompt = tokens_of(200)}); }));
  EXPECT_TRUE(test::throws_error(ErrorCode::kInvalidArgument,
                                 "prompt: token '100000': is outside the model's vocabulary", [&] {
                                   session.generate({.prompt = {1, 100000}});
                                 }));
  EXPECT_TRUE(test::throws_error(ErrorCode::kInvalidArgument,
                                 "prompt: token '-1': is outside the model's vocabulary",
                                 [&] { session.generate({.prompt = {-1}}); }));
  EXPECT_TRUE(test::throws_error(ErrorCode::kInvalidArgument, "sampling: stop: is empty",
                                 [&] { session.generate({.prompt = {1}, .stop = {""}}); }));
  // And still works.
  EXPECT_EQ(
      std::ssize(session.generate({.prompt = {1, 2}, .max_tokens = 3, .ignore_eos = true}).tokens),
      3);
}

TEST_F(SessionTest, CancelEndsTheAnswerAndKeepsTheSession) {
  Session session(*engine_);
  std::atomic<bool> cancel{false};
  GenerateRequest request{
      .prompt = tokens_of(10), .max_tokens = 50, .ignore_eos = true, .cancel = &cancel};
  int seen = 0;
  request.on_token = [&](TokenId, std::string_view) { cancel = ++seen == 3; };
  const GenerateResult cut = session.generate(request);
  EXPECT_EQ(cut.reason, FinishReason::kCancelled);
  EXPECT_EQ(std::ssize(cut.tokens), 3);
  cancel = false;
  request.on_token = {};
  request.max_tokens = 3;
  EXPECT_EQ(session.generate(request).tokens, cut.tokens);
}

TEST_F(SessionTest, AStopStringEndsTheTextBeforeIt) {
  Session session(*engine_);
  GenerateRequest request{.prompt = tokens_of(10), .max_tokens = 40, .ignore_eos = true};
  const GenerateResult whole = session.generate(request);
  ASSERT_GT(whole.text.size(), 6u);
  const std::string stop = whole.text.substr(4, 2);
  request.stop = {stop};
  std::string streamed;
  request.on_token = [&](TokenId, std::string_view piece) { streamed += piece; };
  const GenerateResult cut = session.generate(request);
  EXPECT_EQ(cut.reason, FinishReason::kStopString);
  EXPECT_EQ(cut.text, whole.text.substr(0, whole.text.find(stop)));
  EXPECT_EQ(streamed, cut.text);
}

TEST_F(SessionTest, SamplingRepeatsWithItsSeed) {
  Session session(*engine_);
  GenerateRequest request{.prompt = tokens_of(10),
                          .sampling = {.temperature = 1.5f, .seed = 7},
                          .max_tokens = 20,
                          .ignore_eos = true};
  const GenerateResult first = session.generate(request);
  EXPECT_EQ(session.generate(request).tokens, first.tokens);
  request.sampling.seed = 8;
  EXPECT_NE(session.generate(request).tokens, first.tokens);
}

TEST_F(SessionTest, ChunksOfThePrefillDoNotChangeTheAnswer) {
  const GenerateRequest request{.prompt = tokens_of(100), .max_tokens = 10, .ignore_eos = true};
  Session whole(*engine_);
  const auto chunked_engine = make_engine(
      "gguf/llama_mixed.gguf", {.offload_ratio = 0.5, .context = 200, .prefill_chunk = 7});
  Session chunked(*chunked_engine);
  const GenerateResult result = chunked.generate(request);
  EXPECT_EQ(result.prefill.steps, 15);
  EXPECT_EQ(result.tokens, whole.generate(request).tokens);
}

TEST(EngineTest, ManySessionsGiveTheirPagesBack) {
  const auto engine = make_engine("gguf/llama_mixed.gguf", {.context = 64});
  for (int round = 0; round < 10; ++round) {
    Session session(*engine);
    session.generate({.prompt = tokens_of(60), .max_tokens = 2, .ignore_eos = true});
  }
}

TEST(EngineTest, ChatTemplateOfAFolder) {
  const auto engine = make_engine("hf/smollm2");
  ChatInput input;
  input.messages.push_back({{"role", "user"}, {"content", "hi"}});
  EXPECT_GT(engine->chat_prompt(input).size(), 3u);
}

}  // namespace
}  // namespace dak
