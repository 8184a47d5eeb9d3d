#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "support/sampling.h"
#include "support/throws_error.h"

namespace dak {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> logs(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  logits.reserve(probabilities.size());
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}

std::vector<int> draw_counts(const std::vector<float>& logits, const SamplingParams& params,
                             int draws) {
  Sampler sampler(params);
  std::vector<int> counts(logits.size());
  for (int i = 0; i < draws; ++i) ++counts[static_cast<size_t>(sampler.sample(logits))];
  return counts;
}

std::set<size_t> support(const std::vector<int>& counts) {
  std::set<size_t> tokens;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] > 0) tokens.insert(i);
  }
  return tokens;
}

TEST(ChiSquared, SeesAWrongDistribution) {
  EXPECT_LT(test::chi_squared_deviate({5012, 4988}, {0.5, 0.5}), 4);
  EXPECT_GT(test::chi_squared_deviate({5300, 4700}, {0.5, 0.5}), 4);
  EXPECT_GT(test::chi_squared_deviate({5000, 5000, 1}, {0.5, 0.5, 0}), 4);
}

TEST(Sampler, GreedyTakesTheLargestAndTheLowestOfTies) {
  Sampler sampler({.temperature = 0, .top_k = 1, .top_p = 0.1f, .min_p = 0.9f});
  EXPECT_EQ(sampler.sample(std::vector<float>{0, 3, 1}), 1);
  EXPECT_EQ(sampler.sample(std::vector<float>{0, 3, 3, 1}), 1);
  EXPECT_EQ(sampler.sample(std::vector<float>{-5}), 0);
  EXPECT_EQ(sampler.sample(std::vector<float>{kNan, -1, kNan, -2}), 1);
  EXPECT_EQ(sampler.sample(std::vector<float>{-kInf, kNan, -3e38f}), 2);
  EXPECT_EQ(sampler.sample(std::vector<float>{1, kInf, 2, kInf}), 1);
}

// Hand-computed sets; probabilities are exact tenths, thresholds away from their sums.
TEST(Sampler, ExactFilterSets) {
  const std::vector<float> logits = logs({0.1, 0.4, 0.2, 0.05, 0.25});
  const auto kept = [&](SamplingParams params) {
    params.temperature = 1;
    return support(draw_counts(logits, params, 3000));
  };
  EXPECT_EQ(kept({}), (std::set<size_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(kept({.top_k = 1}), (std::set<size_t>{1}));
  EXPECT_EQ(kept({.top_k = 3}), (std::set<size_t>{1, 2, 4}));
  EXPECT_EQ(kept({.top_k = 5}), (std::set<size_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(kept({.top_k = 1000}), (std::set<size_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(kept({.top_p = 0.39f}), (std::set<size_t>{1}));
  EXPECT_EQ(kept({.top_p = 0.41f}), (std::set<size_t>{1, 4}));
  EXPECT_EQ(kept({.top_p = 0.7f}), (std::set<size_t>{1, 2, 4}));
  EXPECT_EQ(kept({.top_p = 0.96f}), (std::set<size_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(kept({.top_p = 1e-6f}), (std::set<size_t>{1}));
  EXPECT_EQ(kept({.min_p = 0.3f}), (std::set<size_t>{1, 2, 4}));
  EXPECT_EQ(kept({.min_p = 0.6f}), (std::set<size_t>{1, 4}));
  EXPECT_EQ(kept({.min_p = 1.0f}), (std::set<size_t>{1}));
  // Top-p sees what top-k left, made to sum to 1: 0.4 / 0.65 is more than 0.6.
  EXPECT_EQ(kept({.top_k = 2, .top_p = 0.6f}), (std::set<size_t>{1}));
  EXPECT_EQ(kept({.top_k = 2, .top_p = 0.63f}), (std::set<size_t>{1, 4}));
  EXPECT_EQ(kept({.top_k = 4, .top_p = 0.9f, .min_p = 0.55f}), (std::set<size_t>{1, 4}));
}

TEST(Sampler, TopKKeepsTiesAsHuggingFaceDoes) {
  const std::vector<float> logits{1, 2, 1, 3, 1, 0};
  const auto kept = [&](int k) {
    return support(draw_counts(logits, {.temperature = 1, .top_k = k}, 2000));
  };
  EXPECT_EQ(kept(2), (std::set<size_t>{1, 3}));
  EXPECT_EQ(kept(3), (std::set<size_t>{0, 1, 2, 3, 4}));
}

TEST(Sampler, DistributionsMatchTheReference) {
  std::mt19937 random(7);
  const std::vector<SamplingParams> cases = test::distribution_cases();
  for (size_t c = 0; c < cases.size(); ++c) {
    for (uint64_t seed = 1; seed <= 3; ++seed) {
      SamplingParams params = cases[c];
      params.seed = seed;
      std::vector<float> logits(24);
      for (float& logit : logits) logit = static_cast<float>(random() % 4001) / 1000.0f - 2.0f;
      const std::vector<int> counts = draw_counts(logits, params, 60000);
      EXPECT_LT(test::chi_squared_deviate(counts, test::token_probabilities(logits, params)), 4)
          << "case " << c << " seed " << seed;
    }
  }
}

// The sets that the fast selection keeps of a real-sized vocabulary, against a full sort.
TEST(Sampler, LargeVocabularyKeepsTheReferenceSet) {
  std::mt19937 random(11);
  std::vector<float> flat(150000);
  for (float& logit : flat) logit = static_cast<float>(random() % 100000) / 25000.0f;
  std::vector<float> peaked = flat;
  for (size_t i = 0; i < 30; ++i) peaked[i * 4999] += 8.0f;
  const std::vector<SamplingParams> cases{
      {.temperature = 1, .top_k = 40},         {.temperature = 1, .top_k = 100000},
      {.temperature = 1, .top_p = 0.9f},       {.temperature = 0.3f, .top_p = 0.5f},
      {.temperature = 1, .min_p = 0.5f},       {.temperature = 1, .top_k = 50, .top_p = 0.9f},
      {.temperature = 0.7f, .top_p = 0.9999f},
  };
  for (const auto& logits : {flat, peaked}) {
    for (size_t c = 0; c < cases.size(); ++c) {
      const std::vector<double> wanted = test::token_probabilities(logits, cases[c]);
      Sampler sampler(cases[c]);
      double mean = 0;
      constexpr int kDraws = 12;
      for (int i = 0; i < kDraws; ++i) {
        const auto token = static_cast<size_t>(sampler.sample(logits));
        ASSERT_GT(wanted[token], 0) << "case " << c << " token " << token;
        mean += static_cast<double>(logits[token]) / kDraws;
      }
      // The mean logit of the draws shows a set that is too small.
      double expected = 0;
      double square = 0;
      for (size_t i = 0; i < logits.size(); ++i) {
        expected += wanted[i] * static_cast<double>(logits[i]);
        square += wanted[i] * static_cast<double>(logits[i]) * static_cast<double>(logits[i]);
      }
      const double deviation = std::sqrt(std::max(0.0, square - expected * expected) / kDraws);
      EXPECT_NEAR(mean, expected, 4 * deviation + 1e-4) << "case " << c;
    }
  }
}

TEST(Sampler, RepetitionPenaltySeesPromptAndAnswer) {
  Sampler sampler({.repetition_penalty = 2.0f});
  const std::vector<TokenId> prompt{0, 0, 3, 900};  // 900 is outside the logits
  sampler.observe_prompt(prompt);
  const std::vector<float> logits{4, 2.5f, 1, -1, -1.5f};
  EXPECT_EQ(sampler.sample(logits), 1);  // 4 / 2, once however often it occurred
  EXPECT_EQ(sampler.sample(logits), 0);  // 2.5 / 2 now
  const std::vector<float> negative{-9, -9, -9, -1, -1.5f};
  EXPECT_EQ(sampler.sample(negative), 4);  // -1 * 2
  EXPECT_EQ(sampler.sample(negative), 3);  // -1.5 * 2 now
}

TEST(Sampler, PresencePenaltySeesTheAnswerOnce) {
  Sampler sampler({.presence_penalty = 1.0f});
  const std::vector<TokenId> prompt{0};
  sampler.observe_prompt(prompt);
  const std::vector<float> logits{2, 1.5f, 1.25f, 0};
  EXPECT_EQ(sampler.sample(logits), 0);  // the prompt does not count
  EXPECT_EQ(sampler.sample(logits), 1);
  EXPECT_EQ(sampler.sample(logits), 2);
  EXPECT_EQ(sampler.sample(logits), 0);  // 1, 0.5, 0.25
  EXPECT_EQ(sampler.sample(logits), 0);  // still 1: presence is not a count
}

TEST(Sampler, FrequencyPenaltyCounts) {
  Sampler sampler({.frequency_penalty = 0.5f});
  const std::vector<float> logits{2, 1.25f};
  EXPECT_EQ(sampler.sample(logits), 0);  // 2
  EXPECT_EQ(sampler.sample(logits), 0);  // 1.5
  EXPECT_EQ(sampler.sample(logits), 1);  // 1 against 1.25
  EXPECT_EQ(sampler.sample(logits), 0);  // 1 against 0.75
}

TEST(Sampler, NegativePenaltiesReward) {
  Sampler sampler({.presence_penalty = -2.0f});
  EXPECT_EQ(sampler.sample(std::vector<float>{1, 0}), 0);
  EXPECT_EQ(sampler.sample(std::vector<float>{0, 1}), 0);
}

// Repetition first, then frequency and presence: (3 / 2) - 0.25 - 0.5 = 0.75, not (3 - 0.75) / 2.
TEST(Sampler, OrderOfPenalties) {
  Sampler sampler({.repetition_penalty = 2, .presence_penalty = 0.5f, .frequency_penalty = 0.25f});
  EXPECT_EQ(sampler.sample(std::vector<float>{3, 0}), 0);
  EXPECT_EQ(sampler.sample(std::vector<float>{3, 0.9f}), 1);
}

TEST(Sampler, PenaltiesPrecedeTheFilters) {
  Sampler sampler({.temperature = 1, .top_k = 1, .repetition_penalty = 4});
  const std::vector<TokenId> prompt{1};
  sampler.observe_prompt(prompt);
  for (int i = 0; i < 20; ++i) {
    const TokenId token = sampler.sample(std::vector<float>{-kInf, 2, 1, -kInf, 1.5f});
    ASSERT_EQ(token, i == 0 ? 4 : i == 1 ? 2 : 1) << i;
    if (i == 1) break;
  }
}

TEST(Sampler, SameSeedSameTokens) {
  std::vector<float> logits(100);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>((i * 37) % 100) / 25.0f;
  const auto draw = [&](uint64_t seed) {
    Sampler sampler({.temperature = 0.9f, .top_k = 60, .top_p = 0.95f, .seed = seed});
    std::vector<TokenId> tokens(12);
    for (TokenId& token : tokens) token = sampler.sample(logits);
    return tokens;
  };
  EXPECT_EQ(draw(42), draw(42));
  EXPECT_NE(draw(42), draw(43));
  // As a program of a few lines in another language draws: the same on every machine.
  EXPECT_EQ(draw(42), (std::vector<TokenId>{34, 96, 48, 8, 67, 8, 21, 72, 13, 70, 62, 18}));
}

TEST(Sampler, TopPKeepsTies) {
  const std::vector<float> logits{1, 2, 1, 3, 1, 0};
  const auto kept = [&](float p) {
    return support(draw_counts(logits, {.temperature = 1, .top_p = p}, 2000));
  };
  EXPECT_EQ(kept(0.5f), (std::set<size_t>{3}));  // 0.55, 0.20, 3 x 0.07, 0.03
  EXPECT_EQ(kept(0.7f), (std::set<size_t>{1, 3}));
  EXPECT_EQ(kept(0.77f), (std::set<size_t>{0, 1, 2, 3, 4}));
}

// The draw depends on the number of tokens before it, whoever chose or counted them.
TEST(Sampler, DrawsByThePlaceInTheSequence) {
  std::vector<float> logits(50, 1.0f);
  const std::vector<TokenId> prompt{4, 8, 15};
  Sampler sampler({.temperature = 1, .seed = 3});
  std::vector<TokenId> tokens(20);
  for (TokenId& token : tokens) token = sampler.sample(logits);
  Sampler after_prompt({.temperature = 1, .seed = 3});
  after_prompt.observe_prompt(prompt);
  EXPECT_EQ(after_prompt.sample(logits), tokens[3]);
  after_prompt.accept(16);
  EXPECT_EQ(after_prompt.sample(logits), tokens[5]);
}

TEST(Sampler, AcceptedTokensArePenalised) {
  Sampler sampler({.presence_penalty = 1.0f});
  sampler.accept(1);
  EXPECT_EQ(sampler.sample(std::vector<float>{0.5f, 1, 0}), 0);
}

TEST(Sampler, SpecialValues) {
  Sampler sampler({.temperature = 1, .top_k = 4, .top_p = 0.99f, .min_p = 0.01f});
  for (int i = 0; i < 100; ++i) {
    const TokenId token = sampler.sample(std::vector<float>{kNan, 1, -kInf, 1, kNan});
    ASSERT_TRUE(token == 1 || token == 3);
    const TokenId infinite = sampler.sample(std::vector<float>{3e38f, kInf, -3e38f, kInf, kNan});
    ASSERT_TRUE(infinite == 1 || infinite == 3);
  }
  Sampler cold({.temperature = 1e-45f});
  Sampler hot({.temperature = 3e38f});
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(cold.sample(std::vector<float>{1, 1.0001f, -3e38f}), 1);
    ASSERT_LT(hot.sample(std::vector<float>{1, 2, -kInf}), 2);
  }
}

TEST(Sampler, NothingToChooseIsAnError) {
  for (const float temperature : {0.0f, 1.0f}) {
    Sampler sampler({.temperature = temperature});
    for (const auto& logits : {std::vector<float>{}, std::vector<float>{kNan, -kInf, kNan}}) {
      EXPECT_TRUE(test::throws_error(ErrorCode::kInternal, "logits: every logit is NaN or -inf",
                                     [&] { sampler.sample(logits); }));
    }
  }
}

TEST(Sampler, LogProbability) {
  const std::vector<float> logits{0.5f, -3, kNan, 2, -kInf, -800};
  const double total = std::exp(0.5) + std::exp(-3.0) + std::exp(2.0);
  EXPECT_FLOAT_EQ(Sampler::log_probability(logits, 0), static_cast<float>(0.5 - std::log(total)));
  EXPECT_FLOAT_EQ(Sampler::log_probability(logits, 3), static_cast<float>(2 - std::log(total)));
  EXPECT_FLOAT_EQ(Sampler::log_probability(logits, 5), static_cast<float>(-800 - std::log(total)));
  EXPECT_EQ(Sampler::log_probability(logits, 2), -kInf);
  EXPECT_EQ(Sampler::log_probability(logits, 4), -kInf);
  const std::vector<float> infinite{kInf, 1, kInf};
  EXPECT_FLOAT_EQ(Sampler::log_probability(infinite, 2), -std::log(2.0f));
  EXPECT_EQ(Sampler::log_probability(infinite, 1), -kInf);
  EXPECT_TRUE(test::throws_error(ErrorCode::kInternal, "token id out of range",
                                 [&] { Sampler::log_probability(logits, 6); }));
  EXPECT_TRUE(test::throws_error(ErrorCode::kInternal, "token id out of range",
                                 [&] { Sampler::log_probability(logits, -1); }));
}

// Against long double over many gaps.
TEST(Sampler, LogProbabilityIsAccurate) {
  for (int i = 1; i < 4000; ++i) {
    const float gap = static_cast<float>(i) / 40.0f;
    const std::vector<float> logits{-gap, 0};
    const long double wanted = -std::log1p(std::exp(-static_cast<long double>(gap)));
    const auto got = static_cast<long double>(Sampler::log_probability(logits, 1));
    ASSERT_NEAR(static_cast<double>(got), static_cast<double>(wanted),
                1e-6 * std::abs(static_cast<double>(wanted)) + 3e-16)
        << gap;
  }
}

TEST(SamplingParams, ValidateNamesFieldAndValue) {
  struct Case {
    std::string field;
    std::string value;
    std::function<void(SamplingParams&)> set;
  };
  const std::vector<Case> cases{
      {"temperature", "-0.5", [](auto& p) { p.temperature = -0.5f; }},
      {"temperature", "nan", [](auto& p) { p.temperature = kNan; }},
      {"temperature", "inf", [](auto& p) { p.temperature = kInf; }},
      {"top_k", "-1", [](auto& p) { p.top_k = -1; }},
      {"top_p", "0", [](auto& p) { p.top_p = 0; }},
      {"top_p", "1.5", [](auto& p) { p.top_p = 1.5f; }},
      {"top_p", "nan", [](auto& p) { p.top_p = kNan; }},
      {"min_p", "-0.5", [](auto& p) { p.min_p = -0.5f; }},
      {"min_p", "2", [](auto& p) { p.min_p = 2; }},
      {"repetition_penalty", "0", [](auto& p) { p.repetition_penalty = 0; }},
      {"repetition_penalty", "inf", [](auto& p) { p.repetition_penalty = kInf; }},
      {"presence_penalty", "2.5", [](auto& p) { p.presence_penalty = 2.5f; }},
      {"frequency_penalty", "-3", [](auto& p) { p.frequency_penalty = -3; }},
  };
  for (const Case& c : cases) {
    SamplingParams params;
    c.set(params);
    const std::string words = "sampling: " + c.field + " '" + c.value + "': ";
    EXPECT_TRUE(test::throws_error(ErrorCode::kInvalidArgument, words, [&] { params.validate(); }));
    EXPECT_TRUE(
        test::throws_error(ErrorCode::kInvalidArgument, words, [&] { Sampler sampler(params); }));
  }
  EXPECT_NO_THROW(SamplingParams{}.validate());
}

}  // namespace
}  // namespace dak
