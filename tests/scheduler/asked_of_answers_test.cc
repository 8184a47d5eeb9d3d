// What a request may ask of its answer: where it ends, which tokens it prefers, and what the model
// says of the prompt.
#include <gtest/gtest.h>

#include <cmath>

#include "serving_requests.h"
#include "support/throws_error.h"

namespace dak {
namespace {

using test::Answer;
using test::expect_all_pages_back;
using test::expect_chances;
using test::kSurely;
using test::prompt_of;
using test::Serving;

std::unique_ptr<Engine> engine_of(EngineOptions options) {
  options.context = 256;
  return std::make_unique<Engine>(
      open_model(std::string(DAK_TEST_DATA) + "/model/hf/smollm2", true), options, cpu_tiers(1e9));
}

Answer answer_of(Engine& engine, ServingRequest request) {
  Serving serving(engine);
  serving.start();
  return serving.wait(serving.submit(std::move(request)));
}

TEST(PromptLogprobs, AreThoseOfEachTokenAfterThoseBeforeIt) {
  const std::vector<TokenId> prompt = prompt_of(150, 5);
  // Logits of one row at a time, and of several; prompts in one chunk and in two.
  for (const int64_t sequences : {1, 4}) {
    const auto engine = engine_of({.offload_ratio = 0.5,
                                   .kv_ratio = 0.5,
                                   .sequences = sequences,
                                   .prefill_chunk = sequences == 1 ? 256 : 64});
    Serving serving(*engine);
    serving.start();
    const Answer answer = serving.wait(serving.submit(
        {.prompt = prompt, .max_tokens = 2, .ignore_eos = true, .prompt_logprobs = 4}));
    EXPECT_EQ(answer.tokens.size(), 2u);
    expect_chances(answer.prompt, prompt, serving, 2e-4f);
    // The pages are there now, and are computed again all the same.
    const Answer again =
        serving.wait(serving.submit({.prompt = prompt, .max_tokens = 2, .prompt_logprobs = 0}));
    EXPECT_EQ(again.reused_tokens, 0);
    ASSERT_EQ(again.prompt.size(), answer.prompt.size());
    for (size_t i = 0; i < again.prompt.size(); ++i) {
      EXPECT_EQ(again.prompt[i].logprob, answer.prompt[i].logprob) << i;
      EXPECT_TRUE(again.prompt[i].top.empty());
    }
    const Answer without = serving.wait(serving.submit({.prompt = prompt, .max_tokens = 2}));
    EXPECT_GT(without.reused_tokens, 0);
    EXPECT_TRUE(without.prompt.empty());
    serving.stop();
    expect_all_pages_back(serving.scheduler());
  }
}

TEST(PromptLogprobs, OfSeveralAtATimeBesideOthersAreEachItsOwn) {
  const auto engine = engine_of({.offload_ratio = 0.5, .sequences = 4, .prefill_chunk = 64});
  std::vector<Answer> alone;
  std::vector<ServingRequest> requests;
  for (uint32_t seed = 0; seed < 6; ++seed) {
    requests.push_back({.prompt = prompt_of(20 + 30 * seed, seed % 3),
                        .max_tokens = 1 + seed,
                        .ignore_eos = true,
                        .prompt_logprobs = seed % 2 == 0 ? 1 : -1});
    alone.push_back(answer_of(*engine, requests.back()));
  }
  Serving serving(*engine);
  for (const ServingRequest& request : requests) serving.submit(request);
  serving.start();
  for (size_t r = 0; r < requests.size(); ++r) {
    const Answer answer = serving.wait(r);
    EXPECT_EQ(answer.tokens, alone[r].tokens) << r;
    ASSERT_EQ(answer.prompt.size(), alone[r].prompt.size()) << r;
    for (size_t i = 0; i < answer.prompt.size(); ++i) {
      EXPECT_NEAR(answer.prompt[i].logprob, alone[r].prompt[i].logprob, 2e-4) << r << " " << i;
    }
  }
}

TEST(PromptOnly, EndsBeforeTheFirstToken) {
  const auto engine = engine_of({.sequences = 2});
  Serving serving(*engine);
  serving.start();
  const std::vector<TokenId> prompt = prompt_of(140, 1);
  const Answer answer =
      serving.wait(serving.submit({.prompt = prompt, .prompt_only = true, .prompt_logprobs = 0}));
  EXPECT_EQ(answer.reason, FinishReason::kMaxTokens);
  EXPECT_EQ(answer.generated_tokens, 0);
  EXPECT_TRUE(answer.tokens.empty());
  EXPECT_EQ(answer.text, "");
  EXPECT_EQ(answer.prompt.size(), prompt.size() - 1);
  // The prompt is in the cache: what it was for, without log-probabilities.
  EXPECT_EQ(serving.wait(serving.submit({.prompt = prompt, .max_tokens = 1})).reused_tokens,
            2 * kPageTokens);
  const Answer one =
      serving.wait(serving.submit({.prompt = {5}, .prompt_only = true, .prompt_logprobs = 3}));
  EXPECT_EQ(one.ends, 1);
  EXPECT_TRUE(one.prompt.empty());
}

TEST(Bias, MakesATokenComeOrNot) {
  const auto engine = engine_of({.offload_ratio = 0.5});
  const std::vector<TokenId> prompt = prompt_of(30, 2);
  const Answer plain = answer_of(*engine, {.prompt = prompt, .max_tokens = 1, .top_logprobs = 1});
  const TokenId first = plain.tokens.at(0);
  for (const float temperature : {0.0f, 1.0f}) {
    const Answer other =
        answer_of(*engine, {.prompt = prompt,
                            .sampling = {.temperature = temperature,
                                         .logit_bias = {{.token = first, .bias = -kSurely}}},
                            .max_tokens = 20,
                            .ignore_eos = true,
                            .top_logprobs = 1});
    EXPECT_EQ(std::ranges::count(other.tokens, first), 0);
    EXPECT_EQ(other.top.at(0).at(0).token, first) << "told of as if there were no bias";
    EXPECT_EQ(other.top.at(0).at(0).logprob, plain.top.at(0).at(0).logprob);
  }
  const Answer twice = answer_of(
      *engine,
      {.prompt = prompt,
       .sampling = {.logit_bias = {{.token = 9, .bias = kSurely}, {.token = 8, .bias = -5}}},
       .max_tokens = 3,
       .ignore_eos = true});
  EXPECT_EQ(twice.tokens, (std::vector<TokenId>{9, 9, 9}));
}

struct EndCase {
  const char* name;
  int64_t min_tokens;
  bool ignore_eos;
  std::vector<TokenId> stop_tokens;
  size_t tokens;
  FinishReason reason;
};

// The end token and token 9 are what the model would have at every step.
TEST(Ends, ComeNoEarlierThanAskedFor) {
  const auto engine = engine_of({.sequences = 2});
  const TokenId eos = engine->config().eos_tokens.at(0);
  const std::vector<EndCase> cases{
      {"eos at once", 0, false, {}, 0, FinishReason::kEos},
      {"eos later", 7, false, {}, 7, FinishReason::kEos},
      {"eos ignored", 7, true, {}, 12, FinishReason::kMaxTokens},
      {"all of it", 12, false, {}, 12, FinishReason::kMaxTokens},
      {"another token", 0, true, {9, 11}, 0, FinishReason::kStopToken},
      {"another token later", 5, true, {9}, 5, FinishReason::kStopToken},
      {"eos as one of them", 3, true, {eos}, 3, FinishReason::kStopToken},
  };
  for (const EndCase& c : cases) {
    SCOPED_TRACE(c.name);
    const bool nine = !c.stop_tokens.empty() && c.stop_tokens[0] == 9;
    const Answer answer = answer_of(
        *engine, {.prompt = prompt_of(10, 3),
                  .sampling = {.logit_bias = {{.token = nine ? 9 : eos, .bias = kSurely}}},
                  .max_tokens = 12,
                  .min_tokens = c.min_tokens,
                  .stop_tokens = c.stop_tokens,
                  .ignore_eos = c.ignore_eos});
    EXPECT_EQ(answer.tokens.size(), c.tokens);
    EXPECT_EQ(answer.reason, c.reason);
    EXPECT_EQ(answer.generated_tokens, static_cast<int64_t>(std::min<size_t>(12, c.tokens + 1)));
    if (!c.ignore_eos || nine) {
      EXPECT_EQ(std::ranges::count(answer.tokens, nine ? 9 : eos), 0);
    }
  }
}

TEST(Ends, StopStringsAreLookedForFromTheLeastTokenOn) {
  const auto engine = engine_of({.sequences = 2});
  ServingRequest request{.prompt = prompt_of(10, 3), .max_tokens = 30, .ignore_eos = true};
  const Answer whole = answer_of(*engine, request);
  ASSERT_GT(whole.text.size(), 20u);
  request.stop = {whole.text.substr(0, 1)};
  EXPECT_EQ(answer_of(*engine, request).text, "");
  request.min_tokens = 10;
  const Answer later = answer_of(*engine, request);
  EXPECT_GE(later.tokens.size(), 10u);
  EXPECT_TRUE(whole.text.starts_with(later.text));
  EXPECT_NE(later.text, "");
}

// Two tokens, and then nothing but the end.
class Short final : public TokenConstraint {
 public:
  explicit Short(TokenId end) : end_(end) {}
  void allow(std::span<uint64_t> bits) override {
    const auto token = static_cast<size_t>(count_ < 2 ? 9 : end_);
    bits[token / 64] |= uint64_t{1} << (token % 64);
  }
  void accept(TokenId) override { ++count_; }

 private:
  TokenId end_;
  int count_ = 0;
};

TEST(Ends, AConstraintThatAllowsNothingElseHasItsWay) {
  const auto engine = engine_of({.sequences = 2});
  const Answer answer = answer_of(
      *engine, {.prompt = prompt_of(10, 3),
                .max_tokens = 20,
                .min_tokens = 8,
                .constraint = std::make_shared<Short>(engine->config().eos_tokens.at(0))});
  EXPECT_EQ(answer.reason, FinishReason::kEos);
  EXPECT_EQ(answer.tokens, (std::vector<TokenId>{9, 9}));
}

TEST(Asked, WhatCannotBeIsRefusedByName) {
  const auto engine = engine_of({});
  Serving serving(*engine);
  const auto refused = [&](ServingRequest request, std::string_view part) {
    request.prompt = {5};
    EXPECT_TRUE(test::throws_error(ErrorCode::kInvalidArgument, part,
                                   [&] { serving.submit(std::move(request)); }));
  };
  refused({.stop_tokens = {1 << 20}}, "stop_tokens");
  refused({.stop_tokens = {-1}}, "stop_tokens");
  refused({.sampling = {.logit_bias = {{.token = 1 << 20, .bias = 1}}}}, "logit_bias");
  refused({.sampling = {.logit_bias = {{.token = 1, .bias = NAN}}}}, "logit_bias");
  refused({.max_tokens = 3, .min_tokens = 4}, "min_tokens");
  refused({.min_tokens = -1}, "min_tokens");
  refused({.prompt_logprobs = 21}, "prompt_logprobs");
}

}  // namespace
}  // namespace dak
