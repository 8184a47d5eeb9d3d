// The scheduler on a GPU: recorded steps, which are enqueued ahead of their tokens, and mixed
// passes.
#include <gtest/gtest.h>
#include <unistd.h>

#include "engine/step_rows.h"
#include "kernels/random_fill.h"
#include "poisoned_model.h"
#include "serving_requests.h"
#include "support/cuda.h"

namespace dak {
namespace {

std::unique_ptr<Engine> make_engine(const EngineOptions& options) {
  return std::make_unique<Engine>(
      open_model(test::test_data(DAK_TEST_DATA) + "/model/hf/smollm2", true), options,
      cuda_tiers(0));
}

class SchedulerOnAGpu : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = test::no_gpu(); !reason.empty()) GTEST_SKIP() << reason;
  }
  // Passes of at most 16 rows, among which logits have the same bits.
  static EngineOptions options(int64_t pages) {
    return {.device = {.backend = Backend::kCuda},
            .local_budget_bytes = int64_t{1} << 30,
            .kv_ratio = 0.6,
            .context = 256,
            .sequences = 8,
            .kv_tokens = pages * kPageTokens,
            .dtype = DType::kBF16,
            .prefill_chunk = 16};
  }
};

TEST_F(SchedulerOnAGpu, EveryRequestGetsWhatItWouldGetAlone) {
  const auto reference = make_engine(options(32));
  int64_t preemptions = 0;
  int64_t reused = 0;
  for (const int64_t pages : {32, 12, 5}) {
    SCOPED_TRACE(fmt::format("{} pages", pages));
    const auto engine = make_engine(options(pages));
    const ServingStats stats =
        test::expect_answers_as_alone(*engine, *reference, 60, static_cast<uint32_t>(pages));
    if (testing::Test::HasFailure()) return;
    preemptions += stats.preemptions;
    reused += stats.reused_tokens;
    EXPECT_GT(stats.traffic.read_bytes[0], 0);
  }
  EXPECT_GT(preemptions, 0);
  EXPECT_GT(reused, 1000);
}

// The device chooses for all, a step ahead; with a penalty among them the host does.
TEST_F(SchedulerOnAGpu, NanEndsItsRequestAlone) {
  for (const bool penalty : {false, true}) {
    SCOPED_TRACE(penalty ? "the host chooses" : "the device chooses");
    std::vector<ServingRequest> requests;
    for (uint32_t i = 0; i < 6; ++i) {
      requests.push_back({.prompt = test::prompt_of(20 + 7 * i, i), .max_tokens = 60});
      requests.back().ignore_eos = true;
      requests.back().sampling = {.temperature = i % 2 == 0 ? 0.0f : 1.0f, .seed = i};
    }
    if (penalty) requests[5].sampling.repetition_penalty = 1.1f;
    const auto tiny_llama = [](TokenId poisoned) {
      return test::tiny_llama(test::test_data(DAK_TEST_DATA), options(32), cuda_tiers(0), poisoned);
    };
    const test::PoisonPlan plan = test::plan_poison(*tiny_llama(kNoToken), requests);
    ASSERT_NE(plan.token, kNoToken) << "no answer has a token of its own";
    const auto engine = tiny_llama(plan.token);
    for (int turn = 0; turn < 2; ++turn) {
      test::expect_the_victim_alone_fails(plan, test::answers_of(*engine, requests));
    }
  }
}

// Whatever comes and goes: prompts that need more memory than those before them, whose passes are
// GEMMs too, and answers that the host chooses, beside as many others as there are.
TEST_F(SchedulerOnAGpu, EveryStepIsRecordedOnce) {
  for (const bool warm : {true, false}) {
    SCOPED_TRACE(warm ? "before the first answer" : "when it comes up");
    EngineOptions wide = options(40);
    wide.prefill_chunk = 128;
    const auto engine = make_engine(wide);
    const auto steps = std::ssize(all_step_rows(engine->sequences()));
    if (warm) {
      const Engine::WarmUp warm_up = engine->warm_up();
      EXPECT_EQ(warm_up.steps, steps);
      EXPECT_EQ(warm_up.recorded, steps);
      EXPECT_EQ(engine->recordings(), steps);
    }
    std::vector<ServingRequest> requests;
    for (uint32_t i = 0; i < 40; ++i) {
      requests.push_back(
          {.prompt = test::prompt_of(5 + 37 * i % 190, i), .max_tokens = 3 + 5 * i % 47});
      requests.back().ignore_eos = true;
      if (i % 9 == 8) requests.back().sampling.repetition_penalty = 1.2f;
    }
    for (const test::Answer& answer : test::answers_of(*engine, requests)) {
      EXPECT_EQ(answer.reason, FinishReason::kMaxTokens);
    }
    EXPECT_LE(engine->recordings(), steps);
    EXPECT_GT(engine->recordings(), warm ? 0 : 1);
  }
}

// Logits of all rows of a pass, as many at a time as there is room for; the head's own row blocks
// are remote, and are read again for each of these.
TEST_F(SchedulerOnAGpu, PromptsAreScored) {
  for (const AccessMode mode : {AccessMode::kDirect, AccessMode::kPrefetch}) {
    SCOPED_TRACE(name(mode));
    EngineOptions scored = options(24);
    scored.local_budget_bytes.reset();
    scored.offload_ratio = 0.6;
    scored.mode = mode;
    scored.prefill_chunk = 64;
    const auto engine = make_engine(scored);
    test::Serving serving(*engine);
    serving.start();
    std::vector<ServingRequest> requests;
    for (uint32_t i = 0; i < 6; ++i) {
      requests.push_back({.prompt = test::prompt_of(30 + 21 * i, i),
                          .max_tokens = 5,
                          .ignore_eos = true,
                          .prompt_logprobs = i % 2 == 0 ? 4 : -1});
      serving.submit(requests.back());
    }
    for (size_t i = 0; i < requests.size(); ++i) {
      const test::Answer answer = serving.wait(i);
      EXPECT_EQ(answer.reason, FinishReason::kMaxTokens);
      if (requests[i].prompt_logprobs < 0) continue;
      test::expect_chances(answer.prompt, requests[i].prompt, serving, 0.05f);
    }
    serving.stop();
    test::expect_all_pages_back(serving.scheduler());
  }
}

// Requests that come and go while steps are in flight.
TEST_F(SchedulerOnAGpu, CancelledRequestsLeaveOthersAlone) {
  const auto engine = make_engine(options(20));
  const auto reference = make_engine(options(20));
  test::Serving serving(*engine);
  serving.start();
  std::vector<ServingRequest> requests;
  for (uint32_t i = 0; i < 40; ++i) {
    requests.push_back({.prompt = test::prompt_of(10 + i, i % 7), .max_tokens = 100});
    requests.back().ignore_eos = true;
    const bool cancelled = i % 2 == 1;
    serving.submit(requests.back(), [&serving, cancelled, i](const ServingEvent& event) {
      if (cancelled && event.generated_tokens == 1 + i) serving.scheduler().cancel(event.request);
    });
  }
  for (uint32_t i = 0; i < 40; ++i) {
    SCOPED_TRACE(i);
    const test::Answer answer = serving.wait(i);
    const GenerateResult expected = test::alone(*reference, requests[i]);
    if (i % 2 == 0) {
      test::expect_same(answer, expected);
      continue;
    }
    EXPECT_EQ(answer.reason, FinishReason::kCancelled);
    ASSERT_LE(answer.tokens.size(), expected.tokens.size());
    EXPECT_TRUE(std::equal(answer.tokens.begin(), answer.tokens.end(), expected.tokens.begin()));
  }
  serving.stop();
  test::expect_all_pages_back(serving.scheduler());
}

// In a process of its own: a kernel that writes where nothing is spoils the whole context.
// Everybody is told, those in the queue too, with CUDA's reason, and nothing hangs.
[[noreturn]] void lose_the_gpu(const EngineOptions& options) {
  alarm(100);
  int code = 2;
  try {
    const auto engine = make_engine(options);
    test::Serving serving(*engine);
    for (uint32_t i = 0; i < 12; ++i) {
      serving.submit({.prompt = test::prompt_of(30, i), .max_tokens = 100, .ignore_eos = true},
                     [i](const ServingEvent& event) {
                       if (i != 0 || event.generated_tokens != 5) return;
                       random_fill(reinterpret_cast<void*>(uintptr_t{1} << 20), {.count = 1 << 16},
                                   nullptr);
                     });
    }
    serving.start();
    int told = 0;
    for (size_t i = 0; i < 12; ++i) {
      told += serving.wait(i).message.find("cudaErrorIllegalAddress") != std::string::npos ? 1 : 0;
    }
    serving.stop();
    fprintf(stderr, "%d told; run: %s\n", told, serving.thrown().c_str());
    code = 0;
  } catch (const std::exception& error) {
    fprintf(stderr, "elsewhere: %s\n", error.what());
  }
  _exit(code);
}

TEST_F(SchedulerOnAGpu, EverybodyIsToldThatTheGpuIsLost) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(lose_the_gpu(options(16)), testing::ExitedWithCode(0),
              "12 told; run: .*CUDA.*cudaErrorIllegalAddress");
}

}  // namespace
}  // namespace dak
