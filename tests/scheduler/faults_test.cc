// One request's numbers go wrong: it ends with an error, the others with the tokens they would have
// had, and nothing of it is found again.
#include "poisoned_model.h"
#include "serving_requests.h"
#include "support/throws_error.h"

namespace dak {
namespace {

using test::Answer;
using test::prompt_of;
using test::Serving;

std::unique_ptr<Engine> tiny_llama(TokenId poisoned, const EngineOptions& options) {
  return test::tiny_llama(DAK_TEST_DATA, options, cpu_tiers(1e9), poisoned);
}

// Of one scope, or of none two the same; greedy and drawn.
std::vector<ServingRequest> requests_of(bool penalties) {
  std::vector<ServingRequest> requests;
  for (uint32_t i = 0; i < 6; ++i) {
    requests.push_back({.prompt = prompt_of(20 + 30 * i, i), .max_tokens = 60});
    requests.back().ignore_eos = true;
    requests.back().sampling = {.temperature = i % 2 == 0 ? 0.0f : 1.0f, .seed = i};
    if (penalties) requests.back().sampling.repetition_penalty = 1.1f;
  }
  return requests;
}

TEST(SchedulerFaults, NanInDecodeEndsItsRequestAlone) {
  for (const bool penalties : {false, true}) {
    const EngineOptions options{
        .offload_ratio = 0.5, .kv_ratio = 0.5, .context = 256, .sequences = 6};
    const test::PoisonPlan plan =
        test::plan_poison(*tiny_llama(kNoToken, options), requests_of(penalties));
    ASSERT_NE(plan.token, kNoToken) << "no answer has a token of its own";
    const auto engine = tiny_llama(plan.token, options);
    test::expect_the_victim_alone_fails(plan, test::answers_of(*engine, plan.requests));
    // And once more, in the pages that it left behind.
    test::expect_the_victim_alone_fails(plan, test::answers_of(*engine, plan.requests));
  }
}

// Who serves nobody else gets the error itself.
TEST(SchedulerFaults, NanInDecodeIsASessionsError) {
  const EngineOptions options{.context = 256};
  const test::PoisonPlan plan =
      test::plan_poison(*tiny_llama(kNoToken, options), {requests_of(false)[0]});
  ASSERT_NE(plan.token, kNoToken);
  const auto engine = tiny_llama(plan.token, options);
  EXPECT_TRUE(test::throws_error(ErrorCode::kInternal, "logits: every logit is NaN or -inf",
                                 [&] { test::alone(*engine, plan.requests[0]); }));
}

TEST(SchedulerFaults, NanInAPromptEndsItsRequestAlone) {
  constexpr TokenId kPoisoned = 301;  // prompt_of has none above 282
  const EngineOptions options{.context = 256, .sequences = 6, .prefill_chunk = 32};
  std::vector<ServingRequest> requests = requests_of(false);
  const std::vector<Answer> clean = test::answers_of(*tiny_llama(kNoToken, options), requests);
  for (const Answer& answer : clean) {
    ASSERT_EQ(std::ranges::count(answer.tokens, kPoisoned), 0) << "choose another token";
  }
  const auto engine = tiny_llama(kPoisoned, options);
  requests[3].prompt[40] = kPoisoned;
  const std::vector<Answer> answers = test::answers_of(*engine, requests);
  for (size_t i = 0; i < answers.size(); ++i) {
    SCOPED_TRACE(i);
    EXPECT_EQ(answers[i].ends, 1);
    EXPECT_EQ(answers[i].tokens, i == 3 ? std::vector<TokenId>() : clean[i].tokens);
    EXPECT_EQ(answers[i].error.has_value(), i == 3);
  }
}

// What was written before is no longer offered: a fault that has passed would stay for as long as
// its pages were asked for.
TEST(SchedulerFaults, PagesOfARequestThatWentWrongAreForgotten) {
  constexpr TokenId kPoisoned = 301;
  // Pages are kept long before the prompt has come to its end.
  const auto engine = tiny_llama(kPoisoned, {.context = 512, .sequences = 3, .prefill_chunk = 32});
  Serving serving(*engine);
  serving.start();
  const ServingRequest good{.prompt = prompt_of(200, 1), .max_tokens = 2, .ignore_eos = true};
  ServingRequest bad = good;  // shares the first page, and goes wrong in the third
  for (size_t i = 100; i < 200; ++i) bad.prompt[i] = 290;
  bad.prompt[170] = kPoisoned;
  EXPECT_EQ(serving.wait(serving.submit(good)).generated_tokens, 2);
  const int64_t cached = 3;
  for (int turn = 0; turn < 2; ++turn) {
    const Answer answer = serving.wait(serving.submit(bad));
    EXPECT_EQ(answer.error, ErrorCode::kInternal);
    EXPECT_EQ(answer.reused_tokens, kPageTokens) << "its own pages of the turn before";
    EXPECT_EQ(serving.wait(serving.submit(good)).reused_tokens, cached * kPageTokens);
  }
  // Two that come together share pages that are spoilt: the last of them takes these along.
  const size_t first = serving.submit(bad);
  const size_t second = serving.submit(bad);
  EXPECT_EQ(serving.wait(first).error, ErrorCode::kInternal);
  EXPECT_EQ(serving.wait(second).error, ErrorCode::kInternal);
  EXPECT_EQ(serving.wait(serving.submit(bad)).reused_tokens, kPageTokens);
  serving.stop();
  const ServingStats stats = serving.scheduler().stats();
  EXPECT_EQ(stats.kv_pages_cached, cached);
  EXPECT_EQ(stats.kv_pages_free + stats.kv_pages_cached, stats.kv_pages_total);
  EXPECT_EQ(stats.requests_failed, 5);
}

}  // namespace
}  // namespace dak
