// Sampled decode steps: a seed gives one text, alone or among others (on a GPU among up to 16),
// drawn on the device or the host; the same bodies on both backends.
#include "engine/decoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "engine/decode_loop.h"
#include "support/cuda.h"
#include "support/loaded_model.h"

namespace dak {
namespace {

constexpr TokenId kStart = 17;
constexpr int64_t kSteps = 70;  // past the end of a page

std::string model() { return test::test_data(DAK_TEST_DATA) + "/model/hf/smollm2"; }

EngineOptions options(Backend backend) {
  return {.device = {.backend = backend},
          .offload_ratio = 0.5,
          .context = 128,
          .sequences = 32,
          .dtype = DType::kBF16};
}

std::unique_ptr<Engine> make_engine(const EngineOptions& options) {
  return std::make_unique<Engine>(open_model(model(), true), options, cpu_tiers(1e9));
}

// The texts of sequences that go on from kStart side by side.
std::vector<std::vector<TokenId>> texts(Engine& engine, const std::vector<SamplingParams>& params,
                                        int64_t steps = kSteps) {
  std::vector<KvHold> holds(params.size());  // the engine has pages for all of a test's
  std::vector<Sampler> samplers(params.begin(), params.end());
  std::vector<KvHold*> hold_places;
  std::vector<Sampler*> sampler_places;
  for (size_t i = 0; i < params.size(); ++i) {
    samplers[i].observe_prompt(std::vector{kStart});
    hold_places.push_back(&holds[i]);
    sampler_places.push_back(&samplers[i]);
  }
  Decoder decoder(engine, hold_places, std::vector(params.size(), kStart), sampler_places);
  std::vector<std::vector<TokenId>> result(params.size());
  int64_t enqueued = 0;
  for (int64_t step = 0; step < steps; ++step) {
    for (; enqueued < steps && decoder.in_flight() <= decoder.ahead(); ++enqueued) {
      decoder.enqueue();
    }
    const Decoder::Step done = decoder.finish();
    for (size_t i = 0; i < params.size(); ++i) result[i].push_back(done.tokens[i]);
  }
  return result;
}

const std::vector<SamplingParams> kRows{
    {},
    {.temperature = 1, .seed = 11},
    {.temperature = 0.8f, .top_k = 20, .seed = 11},
    {.temperature = 1.2f, .top_p = 0.9f, .seed = 11},
    {.temperature = 1, .min_p = 0.05f, .seed = 11},
    {.temperature = 0.7f, .top_k = 50, .top_p = 0.95f, .seed = 11},
    {.temperature = 1, .seed = 11},
    {.temperature = 1, .seed = 12},
};

void expect_one_text_a_seed(const EngineOptions& options) {
  const auto engine = make_engine(options);
  const std::vector<std::vector<TokenId>> together = texts(*engine, kRows);
  EXPECT_EQ(together[6], together[1]);
  EXPECT_NE(together[7], together[1]);
  for (size_t i = 0; i < kRows.size(); ++i) {
    EXPECT_EQ(texts(*engine, {kRows[i]})[0], together[i]) << "row " << i;
  }
  // One row with a penalty: the host chooses for all.
  std::vector<SamplingParams> penalised = kRows;
  penalised[0].repetition_penalty = 1.3f;
  const std::vector<std::vector<TokenId>> by_host = texts(*engine, penalised);
  EXPECT_NE(by_host[0], together[0]);
  for (size_t i = 1; i < kRows.size(); ++i) EXPECT_EQ(by_host[i], together[i]) << "row " << i;
  EXPECT_EQ(texts(*engine, {penalised[0]})[0], by_host[0]);
}

TEST(Decoder, ASeedGivesOneTextOnTheCpu) { expect_one_text_a_seed(options(Backend::kCpu)); }

TEST(Decoder, ASeedGivesOneTextOnAGpu) {
  if (const std::string reason = test::no_gpu(); !reason.empty()) GTEST_SKIP() << reason;
  expect_one_text_a_seed(options(Backend::kCuda));
}

// Sequences that go on while others end, `counts` of them for some steps each, have the texts that
// they have with all there to the end: on a GPU among numbers whose products round alike, with rows
// that are nobody's and steps of other numbers of rows.
void expect_the_same_texts_as_others_end(EngineOptions options, const std::vector<size_t>& counts) {
  constexpr int64_t kStage = 9;
  options.sequences = static_cast<int64_t>(counts[0]);
  const auto engine = make_engine(options);
  std::vector<SamplingParams> params;
  for (size_t i = 0; i < counts[0]; ++i) params.push_back(kRows[i % kRows.size()]);
  const auto steps = kStage * std::ssize(counts);
  const std::vector<std::vector<TokenId>> expected = texts(*engine, params, steps);

  std::vector<KvHold> holds(counts[0]);
  std::vector<Sampler> samplers(params.begin(), params.end());
  for (Sampler& sampler : samplers) sampler.observe_prompt(std::vector{kStart});
  std::vector<std::vector<TokenId>> result(counts[0]);
  std::vector<size_t> running(counts[0]);
  std::iota(running.begin(), running.end(), size_t{0});
  std::mt19937 random(static_cast<uint32_t>(counts[0]));
  for (const size_t count : counts) {
    while (running.size() > count) {
      running.erase(running.begin() + static_cast<int64_t>(random() % running.size()));
    }
    std::vector<KvHold*> hold_places;
    std::vector<Sampler*> sampler_places;
    std::vector<TokenId> last;
    for (const size_t i : running) {
      hold_places.push_back(&holds[i]);
      sampler_places.push_back(&samplers[i]);
      last.push_back(result[i].empty() ? kStart : result[i].back());
    }
    Decoder decoder(*engine, hold_places, last, sampler_places);
    for (int64_t step = 0, enqueued = 0; step < kStage; ++step) {
      for (; enqueued < kStage && decoder.in_flight() <= decoder.ahead(); ++enqueued) {
        decoder.enqueue();
      }
      const Decoder::Step done = decoder.finish();
      for (size_t i = 0; i < count; ++i) result[running[i]].push_back(done.tokens[i]);
    }
  }
  for (size_t i = 0; i < counts[0]; ++i) {
    ASSERT_FALSE(result[i].empty());
    const auto length = static_cast<int64_t>(result[i].size());
    EXPECT_TRUE(std::equal(result[i].begin(), result[i].end(), expected[i].begin(),
                           expected[i].begin() + length))
        << "sequence " << i << " of " << counts[0] << ", which ended after " << length;
  }
  // One recording a number of rows at most.
  EXPECT_LE(engine->recordings(), options.device.backend == Backend::kCpu ? 0 : std::ssize(counts));
}

TEST(Decoder, SequencesGoOnAsOthersEndOnTheCpu) {
  expect_the_same_texts_as_others_end(options(Backend::kCpu), {7, 6, 5, 3, 1});
}

TEST(Decoder, SequencesGoOnAsOthersEndOnAGpu) {
  if (const std::string reason = test::no_gpu(); !reason.empty()) GTEST_SKIP() << reason;
  for (const std::vector<size_t>& counts :
       std::vector<std::vector<size_t>>{{16, 13, 11, 9, 7, 5, 3, 2, 1},
                                        {32, 29, 25, 22, 17},
                                        {64, 58, 49, 41, 33},
                                        {100, 98, 81, 70, 65}}) {
    expect_the_same_texts_as_others_end(options(Backend::kCuda), counts);
  }
}

// A session's text against operations one by one, with every logit and each choice on the host.
void expect_the_text_of_single_operations(Backend backend) {
  const auto engine = make_engine(options(backend));
  LoadedModel single(model(), options(backend), 64);
  const std::vector<TokenId> prompt{5, 17, 250, 3, 99};
  const auto width = static_cast<size_t>(single.config().vocabulary);
  for (const SamplingParams& params : std::vector<SamplingParams>{
           {},
           {.temperature = 1, .seed = 5},
           {.temperature = 0.9f, .top_k = 30, .top_p = 0.9f, .min_p = 0.01f, .seed = 6},
           {.repetition_penalty = 1.2f},
           {.temperature = 1, .presence_penalty = 0.7f, .frequency_penalty = 0.3f, .seed = 7},
           {.temperature = 1.5f, .top_p = 0.8f, .repetition_penalty = 1.1f, .seed = 8}}) {
    Session session(*engine);
    const GenerateResult result = session.generate(
        {.prompt = prompt, .sampling = params, .max_tokens = kSteps, .ignore_eos = true});
    Sampler sampler(params);
    sampler.observe_prompt(prompt);
    KvHold hold;
    std::vector<TokenId> input = prompt;
    std::vector<TokenId> expected;
    for (int64_t step = 0; step < kSteps; ++step) {
      const std::vector<float> logits = single.run(hold, input);
      expected.push_back(sampler.sample(std::span(logits).last(width)));
      input = {expected.back()};
    }
    single.cache().release(hold);
    EXPECT_EQ(result.tokens, expected)
        << "temperature " << params.temperature << ", seed " << params.seed;
  }
}

TEST(Decoder, ATextIsThatOfSingleOperationsOnTheCpu) {
  expect_the_text_of_single_operations(Backend::kCpu);
}

TEST(Decoder, ATextIsThatOfSingleOperationsOnAGpu) {
  if (const std::string reason = test::no_gpu(); !reason.empty()) GTEST_SKIP() << reason;
  expect_the_text_of_single_operations(Backend::kCuda);
}

// Dropped steps leave no trace in caches or samplers.
void expect_drop_to_leave_no_trace(Backend backend) {
  const auto engine = make_engine(options(backend));
  for (const float penalty : {1.0f, 1.1f}) {
    const SamplingParams params{.temperature = 1, .repetition_penalty = penalty, .seed = 9};
    const std::vector<TokenId> expected = texts(*engine, {params}, 12)[0];
    KvHold hold;
    Sampler sampler(params);
    sampler.observe_prompt(std::vector{kStart});
    std::vector<TokenId> found;
    for (int part = 0; part < 4; ++part) {
      Decoder decoder(*engine, {&hold}, {found.empty() ? kStart : found.back()}, {&sampler});
      for (int step = 0; step < 3; ++step) {
        while (decoder.in_flight() <= decoder.ahead()) decoder.enqueue();
        found.push_back(decoder.finish().tokens[0]);
      }
      if (decoder.in_flight() == 0) decoder.enqueue();
      decoder.drop();
      EXPECT_EQ(hold.tokens, std::ssize(found));
    }
    EXPECT_EQ(found, expected);
  }
}

TEST(Decoder, DropLeavesNoTraceOnTheCpu) { expect_drop_to_leave_no_trace(Backend::kCpu); }

TEST(Decoder, DropLeavesNoTraceOnAGpu) {
  if (const std::string reason = test::no_gpu(); !reason.empty()) GTEST_SKIP() << reason;
  expect_drop_to_leave_no_trace(Backend::kCuda);
}

// Decoders that take turns do not see each other's inputs, nor those of a prompt between them.
void expect_turns_to_leave_no_trace(const EngineOptions& options) {
  const auto engine = make_engine(options);
  Session session(*engine);
  const SamplingParams first{.temperature = 1, .seed = 21};
  for (const float penalty : {1.0f, 1.1f}) {
    const SamplingParams second{.temperature = 0.8f, .repetition_penalty = penalty, .seed = 22};
    const std::vector<std::vector<TokenId>> expected{texts(*engine, {first}, 12)[0],
                                                     texts(*engine, {second}, 12)[0]};
    std::vector<KvHold> holds(2);
    std::vector<Sampler> samplers{Sampler(first), Sampler(second)};
    std::vector<std::unique_ptr<Decoder>> decoders;
    for (size_t i = 0; i < 2; ++i) {
      samplers[i].observe_prompt(std::vector{kStart});
      decoders.push_back(std::make_unique<Decoder>(*engine, std::vector{&holds[i]},
                                                   std::vector{kStart}, std::vector{&samplers[i]}));
    }
    std::vector<std::vector<TokenId>> found(2);
    for (int step = 0; step < 12; ++step) {
      for (size_t i = 0; i < 2; ++i) {
        decoders[i]->enqueue();
        found[i].push_back(decoders[i]->finish().tokens[0]);
      }
      if (step % 4 == 0) session.generate({.prompt = {5, 17, 250 + step, 3}, .max_tokens = 2});
    }
    EXPECT_EQ(found, expected);
  }
}

TEST(Decoder, TurnsLeaveNoTraceOnTheCpu) { expect_turns_to_leave_no_trace(options(Backend::kCpu)); }

TEST(Decoder, TurnsLeaveNoTraceOnAGpu) {
  if (const std::string reason = test::no_gpu(); !reason.empty()) GTEST_SKIP() << reason;
  expect_turns_to_leave_no_trace(options(Backend::kCuda));
  EngineOptions plain = options(Backend::kCuda);
  plain.device.kernels = KernelKind::kPlain;
  expect_turns_to_leave_no_trace(plain);
}

// A sequence's pages come back from host memory between steps, once another one has ended.
TEST(Decoder, PagesComeBackBetweenSteps) {
  EngineOptions half = options(Backend::kCpu);
  half.offload_ratio = 0;
  half.kv_ratio = 0.5;
  half.sequences = 2;
  const auto engine = make_engine(half);
  auto first = std::make_unique<DecodeLoop>(*engine, 1, 100, 1);
  DecodeLoop second(*engine, 1, 100, 2);
  EXPECT_GT(second.run(1).traffic.read_bytes[1], 0);
  first.reset();
  EXPECT_EQ(second.run(1).traffic.read_bytes[1], 0);
}

}  // namespace
}  // namespace dak
