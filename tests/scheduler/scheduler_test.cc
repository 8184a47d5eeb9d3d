// Many requests at a time: each gets what it would get alone, whatever else runs, and every page
// comes back.
#include "scheduler/scheduler.h"

#include <gtest/gtest.h>

#include <functional>
#include <future>
#include <iostream>

#include "serving_requests.h"
#include "support/throws_error.h"

namespace dak {
namespace {

using test::alone;
using test::Answer;
using test::expect_all_pages_back;
using test::expect_answers_as_alone;
using test::expect_same;
using test::prompt_of;
using test::Serving;

std::unique_ptr<Engine> make_engine(EngineOptions options) {
  options.context = options.context == 0 ? 256 : options.context;
  return std::make_unique<Engine>(
      open_model(std::string(DAK_TEST_DATA) + "/model/hf/smollm2", true), options, cpu_tiers(1e9));
}

void expect_unavailable(const std::function<void()>& call) {
  EXPECT_TRUE(test::throws_error(ErrorCode::kUnavailable, "is shutting down; try another one",
                                 [&] { call(); }));
}

TEST(Scheduler, EveryRequestGetsWhatItWouldGetAlone) {
  const auto reference = make_engine({.offload_ratio = 0.3});
  int64_t preemptions = 0;
  int64_t reused = 0;
  // Cache for all; for half of them; for hardly more than one. One tier, and two.
  for (const int64_t pages : {32, 12, 5}) {
    const auto engine = make_engine({.offload_ratio = 0.5,
                                     .kv_ratio = pages == 32 ? 0 : 0.6,
                                     .sequences = 8,
                                     .kv_tokens = pages * kPageTokens,
                                     .prefill_chunk = 96});
    SCOPED_TRACE(fmt::format("{} pages", pages));
    const ServingStats stats =
        expect_answers_as_alone(*engine, *reference, 40, static_cast<uint32_t>(pages));
    if (testing::Test::HasFailure()) return;
    preemptions += stats.preemptions;
    reused += stats.reused_tokens;
  }
  EXPECT_GT(preemptions, 0);
  EXPECT_GT(reused, 1000);
}

TEST(Scheduler, ReusedPagesChangeNoBit) {
  const auto engine = make_engine({.kv_ratio = 0.5, .sequences = 4});
  Serving serving(*engine);
  serving.start();
  ServingRequest request{.prompt = prompt_of(200, 7),
                         .max_tokens = 30,
                         .ignore_eos = true,
                         .top_logprobs = 20,
                         .prefix_scope = "a"};
  const Answer first = serving.wait(serving.submit(request));
  const Answer again = serving.wait(serving.submit(request));
  request.prefix_scope = "b";
  const Answer other = serving.wait(serving.submit(request));
  EXPECT_EQ(first.reused_tokens, 0);
  EXPECT_EQ(again.reused_tokens, 3 * kPageTokens);
  EXPECT_EQ(other.reused_tokens, 0) << "a page of another scope";
  for (const Answer* answer : {&again, &other}) {
    EXPECT_EQ(answer->tokens, first.tokens);
    EXPECT_EQ(answer->logprobs, first.logprobs);
    for (size_t i = 0; i < first.top.size(); ++i) {
      for (size_t k = 0; k < first.top[i].size(); ++k) {
        EXPECT_EQ(answer->top[i][k].token, first.top[i][k].token);
        EXPECT_EQ(answer->top[i][k].logprob, first.top[i][k].logprob);
      }
    }
  }
  // What was generated is reused too: the conversation goes on.
  request.prompt.insert(request.prompt.end(), other.tokens.begin(), other.tokens.end());
  request.prompt.resize(request.prompt.size() - 3);
  request.max_tokens = 2;
  EXPECT_EQ(serving.wait(serving.submit(request)).reused_tokens, 3 * kPageTokens);
}

// While answers go on, and while nothing runs.
TEST(Scheduler, ATierGivenBackChangesNoAnswer) {
  std::vector<Tier> tiers = cpu_tiers(1e9);
  tiers.push_back(tiers[1]);
  tiers[1].name = "first";
  tiers[2].name = "second";
  const EngineOptions options{
      .offload_ratio = 0.6, .kv_ratio = 0.9, .context = 256, .sequences = 4};
  const ModelFiles files = open_model(std::string(DAK_TEST_DATA) + "/model/hf/smollm2", true);
  const Plan roomy = plan_model(files, options, tiers);
  tiers[1].capacity_bytes = roomy.bytes_in(1) / 2;
  const auto reference = make_engine(options);
  Engine engine(files, options, tiers);
  ASSERT_GT(engine.plan_now()->bytes_in(1), 0);
  ASSERT_GT(engine.plan_now()->bytes_in(2), 0);

  Serving serving(engine);
  serving.start();
  EXPECT_TRUE(test::throws_error(
      ErrorCode::kNotFound, "'third': is no remote tier of this engine",
      [&] { serving.scheduler().revoke_tier("third").get(); }));  // while nothing runs
  std::vector<ServingRequest> requests;
  for (uint32_t seed = 0; seed < 4; ++seed) {
    requests.push_back({.prompt = prompt_of(40, seed), .max_tokens = 100, .ignore_eos = true});
    serving.submit(requests.back());
  }
  serving.wait_until([](const auto& answers) {
    return std::ranges::all_of(answers, [](const Answer& one) { return one.tokens.size() > 20; });
  });
  serving.scheduler().revoke_tier("first").get();
  EXPECT_FALSE(std::ranges::any_of(serving.answers(), &Answer::over)) << "it came too late";
  EXPECT_EQ(engine.plan_now()->bytes_in(1), 0);
  for (size_t i = 0; i < requests.size(); ++i) {
    SCOPED_TRACE(fmt::format("request {}", i));
    expect_same(serving.wait(i), alone(*reference, requests[i]));
  }
  EXPECT_TRUE(test::throws_error(ErrorCode::kResourceExhausted,
                                 {"tier second", "no other remote tier has room"},
                                 [&] { serving.scheduler().revoke_tier("second").get(); }));
  serving.stop();
  expect_all_pages_back(serving.scheduler());
  expect_unavailable([&] { serving.scheduler().revoke_tier("second"); });
}

// Asked for before a run that ends at once, and where none ever runs: nobody waits for ever.
TEST(Scheduler, AGivingBackThatCannotComeAnyMoreIsRefused) {
  const auto engine = make_engine({.sequences = 1});
  std::future<void> asked;
  {
    Scheduler drained(*engine, {});
    asked = drained.revoke_tier("third");
    drained.drain(std::chrono::steady_clock::now());
    drained.run();
    EXPECT_TRUE(test::throws_error(ErrorCode::kNotFound, "'third': is no remote tier",
                                   [&] { asked.get(); }));
    expect_unavailable([&] { drained.revoke_tier("third"); });
  }
  {
    Scheduler never_run(*engine, {});
    asked = never_run.revoke_tier("third");
  }
  expect_unavailable([&] { asked.get(); });
}

// n answers to one prompt: it is computed once although all come together.
TEST(Scheduler, RequestsThatComeTogetherShareTheirPrompt) {
  const auto engine = make_engine({.sequences = 8, .prefill_chunk = 40});
  Serving serving(*engine);
  for (uint64_t seed = 0; seed < 8; ++seed) {
    serving.submit({.prompt = prompt_of(180, 3),
                    .sampling = {.temperature = 1, .seed = seed},
                    .max_tokens = 8,
                    .ignore_eos = true});
  }
  serving.start();
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(serving.wait(i).reused_tokens, i == 0 ? 0 : 128);
  EXPECT_NE(serving.answers()[1].tokens, serving.answers()[2].tokens);
}

TEST(Scheduler, LogprobsAreOfTheUnmodifiedLogits) {
  const auto engine = make_engine({.sequences = 2});
  Serving serving(*engine);
  serving.start();
  const Answer answer = serving.wait(serving.submit({.prompt = prompt_of(20, 1),
                                                     .sampling = {.repetition_penalty = 1.5f},
                                                     .max_tokens = 10,
                                                     .ignore_eos = true,
                                                     .top_logprobs = 5}));
  ASSERT_EQ(answer.top.size(), 10u);
  for (size_t i = 0; i < 10; ++i) {
    ASSERT_EQ(answer.top[i].size(), 5u);
    for (size_t k = 1; k < 5; ++k)
      EXPECT_GE(answer.top[i][k - 1].logprob, answer.top[i][k].logprob);
    EXPECT_LE(answer.logprobs[i], answer.top[i][0].logprob);
    for (const TokenLogprob& entry : answer.top[i]) {
      if (entry.token != answer.tokens[i]) continue;
      EXPECT_EQ(entry.logprob, answer.logprobs[i]);
    }
  }
}

// Only some tokens, until it has had enough of them.
class Only final : public TokenConstraint {
 public:
  Only(std::vector<TokenId> tokens, int count, TokenId end)
      : tokens_(std::move(tokens)), left_(count), end_(end) {}
  void allow(std::span<uint64_t> bits) override {
    for (const uint64_t word : bits) EXPECT_EQ(word, 0u);
    if (left_ < 0) throw Error(ErrorCode::kInternal, {.problem = "went on after its end"});
    const auto set = [&](TokenId token) {
      bits[static_cast<size_t>(token) / 64] |= uint64_t{1} << (token % 64);
    };
    if (left_ == 0) return set(end_);
    for (const TokenId token : tokens_) set(token);
  }
  void accept(TokenId token) override {
    EXPECT_EQ(token == end_, left_ == 0);
    --left_;
  }

 private:
  std::vector<TokenId> tokens_;
  int left_;
  TokenId end_;
};

TEST(Scheduler, AConstraintRestrictsItsRequestAlone) {
  const auto engine = make_engine({.sequences = 4});
  Serving serving(*engine);
  const ServingRequest free{.prompt = prompt_of(30, 1), .max_tokens = 20, .ignore_eos = true};
  ServingRequest bound = free;
  bound.ignore_eos = false;
  bound.sampling = {.temperature = 2, .repetition_penalty = 1.1f, .seed = 4};
  bound.constraint = std::make_shared<Only>(std::vector<TokenId>{70, 80, 90}, 12, 2);
  ServingRequest stuck = free;
  stuck.constraint = std::make_shared<Only>(std::vector<TokenId>{}, 5, 2);
  ServingRequest broken = free;
  broken.constraint = std::make_shared<Only>(std::vector<TokenId>{70}, -1, 2);
  for (const ServingRequest& request : {free, bound, stuck, broken}) serving.submit(request);
  serving.start();
  expect_same(serving.wait(0), alone(*make_engine({}), free));
  const Answer answer = serving.wait(1);
  EXPECT_EQ(answer.reason, FinishReason::kEos);
  EXPECT_EQ(answer.tokens.size(), 12u);
  EXPECT_EQ(answer.generated_tokens, 13);
  for (const TokenId token : answer.tokens) EXPECT_TRUE(token == 70 || token == 80 || token == 90);
  EXPECT_EQ(serving.wait(2).error, ErrorCode::kInternal);
  EXPECT_EQ(serving.wait(3).error, ErrorCode::kInternal);
}

TEST(Scheduler, CancelledRequestsEndAndLeaveOthersAlone) {
  const auto engine = make_engine({.sequences = 4, .prefill_chunk = 16});
  Serving serving(*engine);
  const ServingRequest request{.prompt = prompt_of(150, 1), .ignore_eos = true};
  ServingRequest other{.prompt = prompt_of(40, 2), .max_tokens = 100, .ignore_eos = true};
  // In prefill, in decode, in the queue.
  serving.submit(request, [&](const ServingEvent& event) {
    if (event.kind == ServingEvent::Kind::kStarted) serving.scheduler().cancel(event.request);
  });
  serving.submit(request, [&](const ServingEvent& event) {
    if (event.generated_tokens == 5) serving.scheduler().cancel(event.request);
  });
  serving.submit(other);
  serving.submit(request);
  serving.submit(request);
  serving.cancel(4);
  serving.scheduler().cancel(12345);
  serving.start();
  for (const size_t i : {size_t{0}, size_t{1}, size_t{4}}) {
    EXPECT_EQ(serving.wait(i).reason, FinishReason::kCancelled) << i;
  }
  EXPECT_FALSE(serving.answers()[4].started);
  EXPECT_LE(serving.answers()[1].tokens.size(), 7u);
  expect_same(serving.wait(2), alone(*make_engine({}), other));
  EXPECT_EQ(serving.wait(3).reason, FinishReason::kContextFull);
  serving.stop();
  expect_all_pages_back(serving.scheduler());
  EXPECT_EQ(serving.scheduler().stats().requests_cancelled, 3);
}

TEST(Scheduler, DeadlinesEndRequestsWhereverTheyAre) {
  const auto engine = make_engine({.sequences = 1});
  const auto now = std::chrono::steady_clock::now();
  ServingRequest request{.prompt = prompt_of(10, 1), .max_tokens = 200, .ignore_eos = true};
  Serving serving(*engine);
  serving.submit(request);
  request.deadline = now;  // in the queue
  serving.submit(request);
  request.deadline = now + std::chrono::hours(1);
  serving.submit(request);
  request.deadline.reset();
  serving.start();
  EXPECT_EQ(serving.wait(1).error, ErrorCode::kDeadlineExceeded);
  EXPECT_FALSE(serving.answers()[1].started);
  EXPECT_EQ(serving.wait(0).reason, FinishReason::kMaxTokens);
  EXPECT_EQ(serving.wait(2).reason, FinishReason::kMaxTokens);
  request.deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(30);
  const size_t late = serving.submit(request, [&](const ServingEvent& event) {
    if (event.generated_tokens == 3) std::this_thread::sleep_until(*request.deadline);
  });
  EXPECT_EQ(serving.wait(late).error, ErrorCode::kDeadlineExceeded);
  EXPECT_TRUE(serving.answers()[late].started);
}

TEST(Scheduler, ClientsTakeTurns) {
  const auto engine = make_engine({.sequences = 1});
  std::vector<std::string> order;
  Serving serving(*engine);
  const auto submit = [&](const std::string& client) {
    serving.submit({.prompt = prompt_of(5, 1), .max_tokens = 2, .client = client},
                   [&order, client](const ServingEvent& event) {
                     if (event.kind == ServingEvent::Kind::kStarted) order.push_back(client);
                   });
  };
  for (int i = 0; i < 4; ++i) submit("greedy");
  submit("modest");
  submit("third");
  submit("modest");
  serving.start();
  for (size_t i = 0; i < 7; ++i) serving.wait(i);
  serving.stop();
  EXPECT_EQ(order, (std::vector<std::string>{"greedy", "modest", "third", "greedy", "modest",
                                             "greedy", "greedy"}));
}

TEST(Scheduler, DrainEndsWhatRunsAndRefusesTheRest) {
  const auto engine = make_engine({.sequences = 2});
  Serving serving(*engine, {.max_queued = 3});
  ServingRequest request{.prompt = prompt_of(10, 1), .max_tokens = 50, .ignore_eos = true};
  for (int i = 0; i < 3; ++i) serving.submit(request);
  const auto refused_with = [&] {
    try {
      serving.scheduler().submit(request);
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::kIo;
  };
  EXPECT_EQ(refused_with(), ErrorCode::kResourceExhausted);
  serving.scheduler().drain(std::chrono::steady_clock::now() + std::chrono::hours(1));
  EXPECT_EQ(refused_with(), ErrorCode::kUnavailable);
  serving.start();
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(serving.wait(i).reason, FinishReason::kMaxTokens);
  serving.stop();

  Serving hasty(*engine);
  for (int i = 0; i < 3; ++i) hasty.submit(request);
  hasty.scheduler().drain(std::chrono::steady_clock::now());
  hasty.start();
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(hasty.wait(i).error, ErrorCode::kUnavailable);
  hasty.stop();
  expect_all_pages_back(hasty.scheduler());

  std::optional<Serving> never_run(std::in_place, *engine);
  int failed = 0;
  request.on_event = [&](const ServingEvent& event) {
    failed += event.kind == ServingEvent::Kind::kFailed ? 1 : 0;
  };
  never_run->scheduler().submit(request);
  never_run.reset();
  EXPECT_EQ(failed, 1);
}

TEST(Scheduler, RefusesWhatCannotRun) {
  const auto engine = make_engine({.sequences = 2});
  Scheduler scheduler(*engine);
  const auto refuses = [&](const ServingRequest& request, std::string_view words) {
    EXPECT_TRUE(
        test::throws_error(ErrorCode::kInvalidArgument, words, [&] { scheduler.submit(request); }));
  };
  refuses({.prompt = {}}, "prompt: is empty");
  refuses({.prompt = prompt_of(256, 1)}, "prompt: length '256 tokens': does not fit the context");
  refuses({.prompt = {5, 100000}}, "prompt: token '100000': is outside the model's vocabulary");
  refuses({.prompt = {5}, .sampling = {.temperature = -1}}, "sampling: temperature '-1'");
  refuses({.prompt = {5}, .max_tokens = -1}, "--max-tokens: '-1': is negative");
  refuses({.prompt = {5}, .stop = {""}}, "sampling: stop: is empty");
  refuses({.prompt = {5}, .top_logprobs = kMostTopLogprobs + 1}, "request: top_logprobs");
  EXPECT_TRUE(test::throws_error(ErrorCode::kInvalidArgument, "scheduler: max_running '3'",
                                 [&] { Scheduler(*engine, {.max_running = 3}); }));
  EXPECT_TRUE(test::throws_error(ErrorCode::kInvalidArgument,
                                 "scheduler: max_queued '0': is not above 0",
                                 [&] { Scheduler(*engine, {.max_queued = 0}); }));
}

TEST(Scheduler, ACallerThatThrowsFailsItsRequestAlone) {
  const auto engine = make_engine({.sequences = 2});
  Serving serving(*engine);
  ServingRequest request{.prompt = prompt_of(10, 1), .max_tokens = 20, .ignore_eos = true};
  serving.submit(request, [](const ServingEvent& event) {
    if (event.generated_tokens == 4) throw std::runtime_error("gone");
  });
  serving.submit(request);
  serving.start();
  EXPECT_EQ(serving.wait(1).reason, FinishReason::kMaxTokens);
  serving.stop();
  EXPECT_EQ(serving.answers()[0].tokens.size(), 4u);
  expect_all_pages_back(serving.scheduler());
  EXPECT_EQ(serving.scheduler().stats().requests_failed, 1);
}

// Also while nothing more comes.
TEST(Scheduler, StatsTellOfTheLastRequestsEnd) {
  const auto engine = make_engine({.sequences = 2});
  Serving serving(*engine);
  serving.start();
  const size_t request = serving.submit({.prompt = prompt_of(20, 1), .ignore_eos = true},
                                        [&](const ServingEvent& event) {
                                          if (event.generated_tokens == 3)
                                            serving.scheduler().cancel(event.request);
                                        });
  EXPECT_EQ(serving.wait(request).reason, FinishReason::kCancelled);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (serving.scheduler().stats().running > 0 && std::chrono::steady_clock::now() < until) {
    std::this_thread::yield();
  }
  const ServingStats stats = serving.scheduler().stats();
  EXPECT_EQ(stats.running, 0);
  EXPECT_EQ(stats.requests_cancelled, 1);
}

TEST(Scheduler, RatesEndWithTheWork) {
  const auto engine = make_engine({.sequences = 2});
  Serving serving(*engine);
  serving.start();
  const ServingRequest request{.prompt = prompt_of(20, 1), .max_tokens = 100, .ignore_eos = true};
  serving.wait(serving.submit(request));
  const auto rate_is_0 = [&serving] { return serving.scheduler().stats().tokens_per_s == 0; };
  const auto wait_until = [](const std::function<bool()>& met) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!met() && std::chrono::steady_clock::now() < until) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return met();
  };
  EXPECT_TRUE(wait_until([&] { return !rate_is_0(); }));
  EXPECT_TRUE(wait_until(rate_is_0)) << "an idle server says that it is at work";
  const ServingStats stats = serving.scheduler().stats();
  EXPECT_EQ(stats.sequences, 0);
  EXPECT_EQ(stats.pass_seconds, 0);
  // The rest does not count among the time that the next work takes.
  const auto begin = std::chrono::steady_clock::now();
  const size_t next = serving.submit(request);
  serving.wait(next);
  double rate = 0;
  EXPECT_TRUE(wait_until([&] { return (rate = serving.scheduler().stats().tokens_per_s) > 0; }));
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  EXPECT_GE(rate * seconds, 50);
}

// Somebody else takes pages that were counted on: who cannot go on is told so, the other one ends,
// and nobody waits for ever.
TEST(Scheduler, RequestsThatRunOutOfPagesFail) {
  const auto engine = make_engine({.kv_ratio = 0.5, .sequences = 3, .kv_tokens = 8 * kPageTokens});
  Session thief(*engine);
  Serving serving(*engine);
  const ServingRequest request{.prompt = prompt_of(60, 1), .max_tokens = 190, .ignore_eos = true};
  serving.submit(request, [&](const ServingEvent& event) {
    if (event.generated_tokens == 3) thief.generate({.prompt = prompt_of(250, 9), .max_tokens = 1});
  });
  serving.submit({.prompt = prompt_of(60, 2), .max_tokens = 190, .ignore_eos = true});
  serving.start();
  EXPECT_EQ(serving.wait(1).error, ErrorCode::kResourceExhausted);
  expect_same(serving.wait(0), alone(*make_engine({}), request));
  // Nothing is left for one that needs more than there is.
  const size_t large = serving.submit({.prompt = prompt_of(200, 3), .max_tokens = 56});
  EXPECT_NE(serving.wait(large).ends, 0);
  serving.stop();
}

// The time between passes, with a batch that a server has. Reported, not held to a limit: it is of
// whatever else this machine does.
TEST(Scheduler, TheTimeBetweenPassesIsMeasured) {
  constexpr int64_t kStreams = 256;
  const auto engine = make_engine({.sequences = kStreams});
  Scheduler scheduler(*engine);
  int64_t tokens = 0;
  for (uint32_t i = 0; i < kStreams; ++i) {
    scheduler.submit({.prompt = prompt_of(70, i),
                      .max_tokens = 60,
                      .ignore_eos = true,
                      .on_event = [&tokens](const ServingEvent& event) {
                        tokens += event.kind == ServingEvent::Kind::kToken ? 1 : 0;
                      }});
  }
  scheduler.drain(std::chrono::steady_clock::now() + std::chrono::hours(1));
  scheduler.run();
  const ServingStats stats = scheduler.stats();
  EXPECT_EQ(tokens, kStreams * 60);
  EXPECT_EQ(stats.generated_tokens, tokens);
  EXPECT_GT(stats.scheduler_seconds, 0);
  EXPECT_GE(stats.scheduler_p99_s, stats.scheduler_p50_s);
  EXPECT_LE(stats.scheduler_p50_s * static_cast<double>(stats.passes), 3 * stats.scheduler_seconds);
  std::cout << fmt::format("{} streams: between passes {:.0f} us (half), {:.0f} us (99 of 100)\n",
                           kStreams, stats.scheduler_p50_s * 1e6, stats.scheduler_p99_s * 1e6);
}

}  // namespace
}  // namespace dak
