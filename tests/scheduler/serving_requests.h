// Requests for the tiny SmolLM2 (256 tokens of context, 288 of vocabulary), and what their answers
// must be: those of a session that serves nobody else.
#pragma once

#include <gtest/gtest.h>

#include <random>

#include "support/serving.h"

namespace dak::test {

inline std::vector<TokenId> prompt_of(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<TokenId> tokens;
  for (int64_t i = 0; i < count; ++i) tokens.push_back(3 + static_cast<TokenId>(random() % 280));
  return tokens;
}

inline GenerateResult alone(Engine& engine, const ServingRequest& request) {
  Session session(engine);
  return session.generate({.prompt = request.prompt,
                           .sampling = request.sampling,
                           .max_tokens = request.max_tokens,
                           .stop = request.stop,
                           .ignore_eos = request.ignore_eos});
}

inline void expect_same(const Answer& answer, const GenerateResult& expected) {
  std::vector<TokenId> tokens = expected.tokens;
  if (expected.reason == FinishReason::kEos) tokens.pop_back();
  EXPECT_EQ(answer.tokens, tokens);
  EXPECT_EQ(answer.text, expected.text);
  EXPECT_EQ(answer.reason, expected.reason);
  EXPECT_EQ(answer.generated_tokens, std::ssize(expected.tokens));
  EXPECT_EQ(answer.ends, 1);
}

inline void expect_all_pages_back(const Scheduler& scheduler) {
  const ServingStats stats = scheduler.stats();
  EXPECT_EQ(stats.running, 0);
  EXPECT_EQ(stats.queued, 0);
  EXPECT_EQ(stats.kv_pages_free + stats.kv_pages_cached, stats.kv_pages_total);
}

inline constexpr float kSurely = 1000;  // a bias that no logit comes up to

// What the model says of `token` after `prompt`: it is made to come, and told of as it was.
inline Answer after(Serving& serving, std::span<const TokenId> prompt, TokenId token) {
  return serving.wait(
      serving.submit({.prompt = {prompt.begin(), prompt.end()},
                      .sampling = {.logit_bias = {{.token = token, .bias = kSurely}}},
                      .max_tokens = 1,
                      .ignore_eos = true,
                      .top_logprobs = 4}));
}

// That of a prompt is that of its tokens one after the other, of four likely ones.
inline void expect_chances(const std::vector<TokenChances>& chances,
                           std::span<const TokenId> prompt, Serving& serving, float tolerance) {
  ASSERT_EQ(chances.size() + 1, prompt.size());
  for (size_t i = 0; i < chances.size(); i += 1 + i / 8) {
    SCOPED_TRACE(i + 1);
    const Answer one = after(serving, prompt.first(i + 1), prompt[i + 1]);
    ASSERT_EQ(one.tokens, std::vector{prompt[i + 1]});
    EXPECT_NEAR(chances[i].logprob, one.logprobs[0], tolerance);
    ASSERT_EQ(chances[i].top.size(), 4u);
    int64_t rank = 1;
    for (size_t k = 0; k < 4; ++k) {
      EXPECT_NEAR(chances[i].top[k].logprob, one.top[0][k].logprob, tolerance);
      if (chances[i].top[k].logprob > chances[i].logprob) ++rank;
    }
    if (rank <= 4) {
      EXPECT_EQ(chances[i].rank, rank);
    } else {
      EXPECT_GE(chances[i].rank, 5);
    }
  }
}

// Prompts that begin alike, of all lengths and ways to choose.
inline ServingRequest random_request(std::mt19937& random) {
  const auto below = [&random](int64_t bound) {
    return static_cast<int64_t>(random() % static_cast<uint64_t>(bound));
  };
  ServingRequest request;
  request.prompt = prompt_of(1 + below(200), static_cast<uint32_t>(below(3)));
  if (below(2) == 0) request.prompt.back() = 3 + static_cast<TokenId>(below(280));
  request.sampling = {.temperature = below(2) == 0 ? 0.0f : 1.3f,
                      .repetition_penalty = below(4) == 0 ? 1.2f : 1.0f,
                      .seed = static_cast<uint64_t>(below(1000))};
  request.max_tokens = below(4) == 0 ? 0 : 1 + below(60);
  request.ignore_eos = below(2) == 0;
  if (below(4) == 0) request.stop = {"e", "ab"};
  if (below(3) == 0) request.top_logprobs = static_cast<int>(below(4));
  request.client = fmt::format("client {}", below(3));
  request.prefix_scope = fmt::format("key {}", below(2));
  return request;
}

// `count` random requests at a time; what the scheduler then says of itself.
inline ServingStats expect_answers_as_alone(Engine& engine, Engine& reference, int64_t count,
                                            uint32_t seed) {
  Serving serving(engine);
  serving.start();
  std::mt19937 random(seed);
  std::vector<ServingRequest> requests;
  for (int64_t i = 0; i < count; ++i) {
    requests.push_back(random_request(random));
    serving.submit(requests.back());
    if (random() % 8 == 0) serving.wait(static_cast<size_t>(i));
  }
  for (size_t i = 0; i < requests.size() && !testing::Test::HasFailure(); ++i) {
    SCOPED_TRACE(fmt::format("request {}", i));
    expect_same(serving.wait(i), alone(reference, requests[i]));
  }
  serving.stop();
  if (testing::Test::HasFailure()) return {};
  expect_all_pages_back(serving.scheduler());
  const ServingStats stats = serving.scheduler().stats();
  EXPECT_EQ(stats.requests_finished, count);
  EXPECT_GT(stats.decode_passes, 0);
  EXPECT_GT(stats.passes, stats.decode_passes);
  return stats;
}

}  // namespace dak::test
