// The end of a recorded step on a GPU: the tokens that it draws are the CPU's, and have the
// probabilities of the definition.
#include "ops/decode_graph.h"
#include "support/cuda.h"
#include "support/sampling.h"
#include "support/throws_error.h"

namespace dak {
namespace {

// Recorded steps whose forward pass has happened: the same logits at every step.
class FixedLogits {
 public:
  FixedLogits(test::Gpu& gpu, const std::vector<float>& logits, int64_t rows)
      : rows_(rows),
        graph_(record_decode_graph(
            gpu.ctx, rows,
            [tensor = gpu.tensor({rows, std::ssize(logits) / rows}, logits)] { return tensor; })) {}

  DecodeGraph& graph() { return *graph_; }

  // The first step draws the token after `past` + 1 others.
  void start(int64_t past, const std::vector<DrawParams>& draws,
             const std::vector<int64_t>& nobodys = {}) {
    const std::vector<int32_t> tokens(static_cast<size_t>(rows_));
    const std::vector<int32_t> positions(static_cast<size_t>(rows_), static_cast<int32_t>(past));
    std::vector<KvSequence> sequences;
    for (int64_t row = 0; row < rows_; ++row) {
      const bool nobody = std::ranges::find(nobodys, row) != nobodys.end();
      sequences.push_back(
          {.pages = {}, .past = nobody ? kPaddingPast : past, .first_row = row, .rows = 1});
    }
    graph_->set_inputs(tokens, positions, {.table_pages = 1}, sequences, draws);
  }

  // [steps, rows], with steps in flight as a decoder has them.
  std::vector<int32_t> run(int64_t steps) {
    std::vector<int32_t> tokens;
    int64_t launched = 0;
    for (int64_t finished = 0; finished < steps; ++finished) {
      for (; launched < std::min(steps, finished + 3); ++launched) graph_->launch();
      const auto chosen = graph_->finish().tokens;
      tokens.insert(tokens.end(), chosen.begin(), chosen.end());
    }
    return tokens;
  }

 private:
  int64_t rows_;
  std::unique_ptr<DecodeGraph> graph_;
};

class DeviceDraw : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = test::no_gpu(); !reason.empty()) GTEST_SKIP() << reason;
    gpu_.emplace();
  }
  std::optional<test::Gpu> gpu_;
};

TEST_F(DeviceDraw, DrawsWhatTheCpuDraws) {
  std::mt19937 random(19);
  TokenDrawer drawer;
  int64_t draws_made = 0;
  for (const size_t vocabulary : {1, 7, 33, 288, 1000, 9001, 32000, 49152, 151936, 300001}) {
    const int64_t steps = vocabulary > 10000 ? 3 : 12;  // the CPU's share takes time
    // A cluster of thread blocks for each row, or one block.
    for (const int64_t rows : {1, 3, 16, 21, 64}) {
      if (static_cast<int64_t>(vocabulary) * rows > 4'000'000) continue;
      std::vector<float> logits;
      std::vector<DrawParams> draws;
      for (int64_t row = 0; row < rows; ++row) {
        const std::vector<float> own = test::random_logits(random, vocabulary);
        logits.insert(logits.end(), own.begin(), own.end());
        draws.push_back(test::random_draw(random));
      }
      FixedLogits step(*gpu_, logits, rows);
      const int64_t past = random() % 100000;
      step.start(past, draws);
      const std::vector<int32_t> chosen = step.run(steps);
      for (int64_t i = 0; i < std::ssize(chosen); ++i) {
        const auto row = static_cast<size_t>(i % rows);
        const DrawParams& params = draws[row];
        const auto index = static_cast<uint64_t>(past + 1 + i / rows);
        ASSERT_EQ(
            chosen[static_cast<size_t>(i)],
            drawer.draw(std::span(logits).subspan(row * vocabulary, vocabulary), params, index))
            << vocabulary << " tokens, row " << row << " of " << rows << ", step " << i / rows
            << ", temperature " << params.temperature << ", top_k " << params.top_k << ", top_p "
            << params.top_p << ", min_p " << params.min_p << ", seed " << params.seed;
        ++draws_made;
      }
    }
  }
  EXPECT_GT(draws_made, 5000);
}

// Other parameters and places for the same graph.
TEST_F(DeviceDraw, InputsChangeBetweenSteps) {
  std::mt19937 random(23);
  const std::vector<float> logits = test::random_logits(random, 5000);
  TokenDrawer drawer;
  FixedLogits step(*gpu_, logits, 1);
  for (int i = 0; i < 200; ++i) {
    const DrawParams params = test::random_draw(random);
    const int64_t past = random() % 1000;
    step.start(past, {params});
    EXPECT_EQ(step.run(1)[0], drawer.draw(logits, params, static_cast<uint64_t>(past) + 1)) << i;
  }
}

TEST_F(DeviceDraw, DistributionsMatchTheDefinition) {
  constexpr int64_t kRows = 64;
  constexpr size_t kVocabulary = 24;
  std::mt19937 random(7);
  const std::vector<SamplingParams> cases = test::distribution_cases();
  for (size_t c = 0; c < cases.size(); ++c) {
    std::vector<float> row(kVocabulary);
    for (float& logit : row) logit = static_cast<float>(random() % 4001) / 1000.0f - 2.0f;
    std::vector<float> logits;
    std::vector<DrawParams> draws;
    for (int64_t i = 0; i < kRows; ++i) {
      logits.insert(logits.end(), row.begin(), row.end());
      draws.push_back(cases[c].draw());
      draws.back().seed = 100 * c + static_cast<uint64_t>(i);
    }
    FixedLogits step(*gpu_, logits, kRows);
    step.start(10, draws);
    std::vector<int> counts(kVocabulary);
    for (const int32_t token : step.run(1000)) ++counts[static_cast<size_t>(token)];
    EXPECT_LT(test::chi_squared_deviate(counts, test::token_probabilities(row, cases[c])), 4)
        << "case " << c;
  }
}

// And leaves the graph usable.
TEST_F(DeviceDraw, ARowWithNothingToChooseFromHasNoToken) {
  const float nan = std::nanf("");
  const float never = -std::numeric_limits<float>::infinity();
  FixedLogits step(*gpu_, {1, 2, 3, nan, never, nan}, 2);
  for (const float temperature : {0.0f, 1.0f, 0.0f, 1.0f}) {
    step.start(4, {{.temperature = temperature}, {.temperature = temperature, .top_p = 0.5f}});
    const std::vector<int32_t> tokens = step.run(3);  // it goes on beside the others
    for (size_t i = 0; i < tokens.size(); i += 2) {
      EXPECT_EQ(tokens[i], temperature == 0 ? 2 : std::clamp(tokens[i], 0, 2));
      EXPECT_EQ(tokens[i + 1], kNoToken);
    }
  }
}

TEST_F(DeviceDraw, TheHostsChoiceGetsTheLogits) {
  std::mt19937 random(5);
  std::vector<float> logits = test::random_logits(random, 3000);
  FixedLogits step(*gpu_, logits, 3);
  for (int i = 0; i < 3; ++i) {
    step.start(i, {});
    step.graph().launch();
    EXPECT_TRUE(test::throws_error(ErrorCode::kInternal, "decode graph: too many steps in flight",
                                   [&] { step.graph().launch(); }));
    const DecodeGraph::Step result = step.graph().finish();
    EXPECT_TRUE(result.tokens.empty());
    ASSERT_EQ(result.logits.size(), logits.size());
    EXPECT_EQ(std::memcmp(result.logits.data(), logits.data(), logits.size() * sizeof(float)), 0);
  }
  EXPECT_TRUE(test::throws_error(ErrorCode::kInternal,
                                 "decode graph: draws for another number of rows",
                                 [&] { step.start(0, std::vector<DrawParams>(2)); }));
  // The same graph, with the device's choice.
  step.start(0, std::vector<DrawParams>(3));
  const std::vector<int32_t> chosen = step.run(2);
  for (size_t row = 0; row < 3; ++row) {
    const auto of_row = std::span(logits).subspan(row * 1000, 1000);
    EXPECT_EQ(chosen[row], std::ranges::max_element(of_row) - of_row.begin());
    EXPECT_EQ(chosen[3 + row], chosen[row]);
  }
}

// They draw nothing, neither do they take part in a cluster's draw, and come to life again.
TEST_F(DeviceDraw, RowsThatAreNobodysLeaveOthersAlone) {
  std::mt19937 random(31);
  TokenDrawer drawer;
  for (const int64_t rows : {8, 40}) {
    const auto width = size_t{3000};
    const std::vector<float> logits =
        test::random_logits(random, width * static_cast<size_t>(rows));
    FixedLogits step(*gpu_, logits, rows);
    for (const std::vector<int64_t>& nobodys :
         std::vector<std::vector<int64_t>>{{0, 3, rows - 1}, {}, {1, 2, 4}}) {
      std::vector<DrawParams> draws;
      for (int64_t row = 0; row < rows; ++row) {
        const bool nobody = std::ranges::find(nobodys, row) != nobodys.end();
        draws.push_back(nobody ? DrawParams{} : test::random_draw(random));
      }
      step.start(20, draws, nobodys);
      const std::vector<int32_t> chosen = step.run(4);
      for (int64_t i = 0; i < std::ssize(chosen); ++i) {
        const int64_t row = i % rows;
        if (std::ranges::find(nobodys, row) != nobodys.end()) continue;
        const auto index = static_cast<uint64_t>(21 + i / rows);
        const auto own = std::span(logits).subspan(static_cast<size_t>(row) * width, width);
        EXPECT_EQ(chosen[static_cast<size_t>(i)],
                  drawer.draw(own, draws[static_cast<size_t>(row)], index))
            << "row " << row << " of " << rows << ", step " << i / rows;
      }
    }
  }
}

// Graphs take turns at what the device keeps of a step.
TEST_F(DeviceDraw, GraphsInTurnsGetTheirOwnTokens) {
  std::mt19937 random(29);
  TokenDrawer drawer;
  const std::vector<float> logits = test::random_logits(random, 4000);
  FixedLogits two(*gpu_, logits, 2);
  FixedLogits one(*gpu_, logits, 1);
  const DrawParams params{.temperature = 1, .top_p = 0.9f, .seed = 3};
  for (int64_t turn = 0; turn < 6; ++turn) {
    one.start(turn, {params});
    two.start(turn, {params, params});
    const std::vector<int32_t> pairs = two.run(3);
    one.start(turn, {params});
    const std::vector<int32_t> singles = one.run(5);
    for (size_t step = 0; step < 3; ++step) {
      const auto index = static_cast<uint64_t>(turn) + 1 + step;
      EXPECT_EQ(singles[step], drawer.draw(logits, params, index));
      EXPECT_EQ(pairs[2 * step], drawer.draw(std::span(logits).first(2000), params, index));
      EXPECT_EQ(pairs[2 * step + 1], drawer.draw(std::span(logits).last(2000), params, index));
    }
  }
}

}  // namespace
}  // namespace dak
