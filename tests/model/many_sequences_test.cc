// Batches of many sequences: decode steps of more than 64 of them, whose products are GEMMs, by a
// recorded graph and without one; and prompts beside decode steps in one pass. Wherever weights and
// KV pages lie, and however they are read, not a bit changes.
#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "engine/access.h"
#include "engine/kv_cache.h"
#include "model/pass.h"
#include "model/synthetic_support.h"
#include "ops/decode_graph.h"
#include "ops/rows.h"
#include "support/cuda.h"
#include "support/golden.h"
#include "support/kv_faults.h"

namespace dak {
namespace {

constexpr int64_t kContext = 192;
constexpr int64_t kMostRows = 1536;
constexpr int64_t kPromptRows = 1024;  // of a pass

struct Placement {
  double ratio = 0;
  double kv_ratio = 0;
  AccessMode mode = AccessMode::kDirect;
};

constexpr std::array kPlacements{
    Placement{0.5, 0.5, AccessMode::kDirect}, Placement{0.5, 0.8, AccessMode::kDirect},
    Placement{1, 1, AccessMode::kDirect},     Placement{0.5, 0.8, AccessMode::kPrefetch},
    Placement{0, 1, AccessMode::kPrefetch},   Placement{1, 0, AccessMode::kPrefetch}};

std::string text(const Placement& p) {
  return fmt::format("{}, ratio {}, KV {}", name(p.mode), p.ratio, p.kv_ratio);
}

int64_t prompt_length(int64_t sequence) { return 1 + sequence * 37 % 100; }

// How soon pages that move are told to have arrived: as the device has it, or late (kv_faults.h).
enum class Moves : uint8_t { kPrompt, kLate };

class Sequences {
 public:
  // Sequence i has prompt_length(i) tokens. `rounded`: see OpContext::round_matmul_inputs.
  Sequences(const std::string& model, Backend backend, int64_t count, const Placement& placement,
            bool rounded = false, Moves moves = Moves::kPrompt)
      : model_(test::test_data(DAK_TEST_DATA) + "/model/step/" + model + "/config.json",
               options(backend, count, placement), 1),
        workspace_(model_.declared.program, kMostRows, kMostRows, model_.weights.arena(0),
                   backend == Backend::kCuda ? DType::kBF16 : DType::kF32),
        cache_(config(), DType::kBF16,
               uniform_kv_room(config().layers, count * kv_pages_for(kContext), placement.kv_ratio),
               std::array{&model_.weights.arena(0), &model_.weights.arena(1)}),
        holds_(static_cast<size_t>(count)) {
    ctx_.backend = backend;
    ctx_.pool = &model_.pool;
    ctx_.round_matmul_inputs = rounded;
    if (backend == Backend::kCuda) {
      backend_ = make_cuda_backend(0);
      ctx_.cuda = backend_.get();
      prepare_access(model_.declared.program, model_.plan, cache_, model_.weights, *backend_);
      mover_ = make_cuda_page_mover(*backend_);
      cache_.use_mover(*mover_);
    }
    const std::array arenas{&model_.weights.arena(0), &model_.weights.arena(1)};
    if (backend == Backend::kCuda) test::poison_pages(cache_, config(), arenas);
    if (backend == Backend::kCuda && moves == Moves::kLate) {
      cache_.use_mover(late_.emplace(*mover_, *arenas[0], *arenas[1]));
    }
    std::vector<int64_t> rows(holds_.size(), 0);
    for (size_t first = 0; first < holds_.size();) {
      int64_t sum = 0;
      std::ranges::fill(rows, 0);
      for (; first < holds_.size() && sum < kPromptRows; ++first) {
        sum += rows[first] = prompt_length(static_cast<int64_t>(first));
      }
      run(rows);
    }
  }

  // A pass of so many tokens of each sequence, none of those that have 0; logits of their last.
  std::vector<float> run(const std::vector<int64_t>& rows) {
    std::vector<std::vector<int32_t>> tokens(rows.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      for (int64_t t = 0; t < rows[i]; ++t) {
        const int64_t token = (holds_[i].tokens + t) * 7 + static_cast<int64_t>(i) * 13;
        tokens[i].push_back(static_cast<int32_t>(token % config().vocabulary));
      }
    }
    return run(tokens);
  }

  std::vector<float> run(const std::vector<std::vector<int32_t>>& tokens) {
    if (late_) late_->next_pass();
    Batch batch{.kv_dtype = DType::kBF16};
    for (size_t i = 0; i < tokens.size(); ++i) {
      const int64_t rows = std::ssize(tokens[i]);
      if (rows == 0) continue;
      KvHold& hold = holds_[i];
      cache_.reserve(hold, hold.tokens + rows);
      batch.sequences.push_back(
          {.pages = &hold.pages, .past = hold.tokens, .first_row = batch.rows(), .rows = rows});
      for (const int32_t token : tokens[i]) {
        batch.tokens.push_back(token);
        batch.positions.push_back(static_cast<int32_t>(hold.tokens++));
      }
      batch.logit_rows.push_back(static_cast<int32_t>(batch.rows() - 1));
    }
    const auto logits =
        host_values(ctx_, model_.declared.model->forward(ctx_, model_.weights, batch, workspace_));
    return {logits.begin(), logits.end()};
  }

  // Greedy decode steps of all, operation by operation: tokens of all steps, then the last logits.
  std::vector<float> decode(int steps) {
    std::vector<std::vector<int32_t>> tokens = first_tokens();
    std::vector<float> all;
    std::vector<float> logits;
    const auto width = static_cast<size_t>(config().vocabulary);
    for (int step = 0; step < steps; ++step) {
      logits = run(tokens);
      for (size_t i = 0; i < tokens.size(); ++i) {
        const std::span row = std::span(logits).subspan(i * width, width);
        tokens[i] = {static_cast<int32_t>(std::ranges::max_element(row) - row.begin())};
        all.push_back(static_cast<float>(tokens[i][0]));
      }
    }
    all.insert(all.end(), logits.begin(), logits.end());
    return all;
  }

  // The same by a recorded graph, a step ahead.
  std::vector<float> decode_by_graph(int steps) {
    Batch batch{.kv_dtype = DType::kBF16, .table_pages = kv_pages_for(kContext)};
    const std::vector<std::vector<int32_t>> first = first_tokens();
    for (size_t i = 0; i < holds_.size(); ++i) {
      cache_.reserve(holds_[i], holds_[i].tokens + 1);
      batch.tokens.push_back(first[i][0]);
      batch.positions.push_back(static_cast<int32_t>(holds_[i].tokens));
      batch.sequences.push_back({.pages = &holds_[i].pages,
                                 .past = holds_[i].tokens,
                                 .first_row = static_cast<int64_t>(i),
                                 .rows = 1});
      batch.logit_rows.push_back(static_cast<int32_t>(i));
    }
    Tensor out;
    const auto graph = record_decode_graph(ctx_, batch.rows(), [&] {
      return out = model_.declared.model->forward(ctx_, model_.weights, batch, workspace_);
    });
    std::vector<float> all;
    const auto finish = [&] {
      for (const int32_t token : graph->finish().tokens) all.push_back(static_cast<float>(token));
    };
    for (int step = 0; step < steps; ++step) {
      if (late_) late_->next_pass();
      for (size_t i = 0; i < holds_.size(); ++i) {
        cache_.reserve(holds_[i], holds_[i].tokens + 1);
        batch.sequences[i].past = holds_[i].tokens;
      }
      BatchKv kv(config(), batch);
      for (int64_t layer = 0; layer < config().layers; ++layer) {
        const AttentionConfig attention = kv.enter_layer(layer);
        graph->set_pages(attention, kv.sequences);
      }
      if (step == 0) {
        graph->set_inputs(batch.tokens, batch.positions, kv.enter_layer(0), kv.sequences,
                          std::vector<DrawParams>(holds_.size()));  // greedy
      }
      graph->launch();
      for (KvHold& hold : holds_) hold.tokens += 1;
      if (step > 0) finish();
    }
    finish();
    const auto logits = host_values(ctx_, out);
    all.insert(all.end(), logits.begin(), logits.end());
    return all;
  }

  int64_t remote_pages() const {
    int64_t pages = 0;
    for (const KvHold& hold : holds_) pages += KvCache::pages_in(hold, 1);
    return pages;
  }
  const ModelConfig& config() const { return model_.files.config; }

 private:
  static EngineOptions options(Backend backend, int64_t count, const Placement& placement) {
    return {.device = {.backend = backend},
            .offload_ratio = placement.ratio,
            .kv_ratio = placement.kv_ratio,
            .context = kContext,
            .sequences = count,
            .mode = placement.mode,
            .synthetic_seed = 1,
            .dtype = DType::kBF16};
  }

  std::vector<std::vector<int32_t>> first_tokens() const {
    std::vector<std::vector<int32_t>> tokens;
    for (size_t i = 0; i < holds_.size(); ++i) {
      tokens.push_back({static_cast<int32_t>(static_cast<int64_t>(i) * 5 % config().vocabulary)});
    }
    return tokens;
  }

  test::SyntheticModel model_;
  Workspace workspace_;
  KvCache cache_;
  CudaBackendPtr backend_;
  std::unique_ptr<PageMover> mover_;
  std::optional<test::LateMover> late_;
  OpContext ctx_;
  std::vector<KvHold> holds_;
};

bool finite(const std::vector<float>& values) {
  return std::ranges::all_of(values, [](float x) { return std::isfinite(x); });
}

struct Many {
  const char* model;
  int64_t sequences;
};

class ManySequences : public testing::TestWithParam<Many> {
 protected:
  void SetUp() override {
    if (const std::string reason = test::no_gpu(); !reason.empty()) GTEST_SKIP() << reason;
  }
};

TEST_P(ManySequences, AGraphHasTheBitsOfSingleOperationsInEveryPlacement) {
  constexpr int kSteps = 70;  // all go over the end of a page
  const auto [model, count] = GetParam();
  const std::vector<float> expected = Sequences(model, Backend::kCuda, count, {}).decode(kSteps);
  ASSERT_TRUE(finite(expected));
  EXPECT_TRUE(Sequences(model, Backend::kCuda, count, {}).decode_by_graph(kSteps) == expected);
  for (const Placement& placement : kPlacements) {
    Sequences single(model, Backend::kCuda, count, placement);
    EXPECT_TRUE(single.decode(kSteps) == expected) << text(placement);
    EXPECT_EQ(single.remote_pages() > 0, placement.kv_ratio > 0);
    Sequences recorded(model, Backend::kCuda, count, placement);
    EXPECT_TRUE(recorded.decode_by_graph(kSteps) == expected) << "graph, " << text(placement);
    if (placement.kv_ratio == 0) continue;  // nothing moves
    Sequences late(model, Backend::kCuda, count, placement, /*rounded=*/false, Moves::kLate);
    EXPECT_TRUE(late.decode(kSteps) == expected) << "late moves, " << text(placement);
    Sequences late_graph(model, Backend::kCuda, count, placement, /*rounded=*/false, Moves::kLate);
    EXPECT_TRUE(late_graph.decode_by_graph(kSteps) == expected)
        << "graph, late moves, " << text(placement);
  }
}

INSTANTIATE_TEST_SUITE_P(Batches, ManySequences,
                         testing::Values(Many{"llama_64", 3}, Many{"mistral_128", 17},
                                         Many{"llama_64", 65}, Many{"opt_128", 128},
                                         Many{"qwen3_128", 200}, Many{"llama_64", 512}),
                         [](const auto& test) {
                           return fmt::format("{}_{}", test.param.model, test.param.sequences);
                         });

class MixedBatches : public testing::TestWithParam<const char*> {
 protected:
  // Prompts of new sequences or more of old ones, beside decode steps.
  static constexpr std::array<int64_t, 9> kRows{1, 90, 1, 1, 37, 1, 64, 1, 1};
  static std::vector<int64_t> rows() { return {kRows.begin(), kRows.end()}; }

  // Each sequence's rows in a pass of its own.
  static std::vector<float> alone(Sequences& sequences) {
    std::vector<float> all;
    for (size_t i = 0; i < kRows.size(); ++i) {
      std::vector<int64_t> one(kRows.size(), 0);
      one[i] = kRows[i];
      const std::vector<float> logits = sequences.run(one);
      all.insert(all.end(), logits.begin(), logits.end());
    }
    return all;
  }
};

TEST_P(MixedBatches, HaveTheBitsOfEachSequenceAloneOnTheCpu) {
  Sequences together(GetParam(), Backend::kCpu, kRows.size(), {0.5, 0.5});
  Sequences apart(GetParam(), Backend::kCpu, kRows.size(), {});
  EXPECT_TRUE(together.run(rows()) == alone(apart));
}

// The tolerance is that of cuda_test.cc: twice what rounding the inputs of products to bf16 makes.
TEST_P(MixedBatches, AreAsGoodAsEachSequenceAloneOnAGpuAndTheSameInEveryPlacement) {
  if (const std::string reason = test::no_gpu(); !reason.empty()) GTEST_SKIP() << reason;
  const int64_t count = kRows.size();
  const std::vector<float> exact = Sequences(GetParam(), Backend::kCpu, count, {}).run(rows());
  const std::vector<float> naive =
      Sequences(GetParam(), Backend::kCpu, count, {}, /*rounded=*/true).run(rows());
  const std::vector<float> ours = Sequences(GetParam(), Backend::kCuda, count, {}).run(rows());
  Sequences apart(GetParam(), Backend::kCuda, count, {});
  const std::vector<float> single = alone(apart);
  ASSERT_EQ(ours.size(), exact.size());
  ASSERT_EQ(single.size(), exact.size());
  const double tolerance = 2 * max_abs_error(naive.data(), exact.data(), std::ssize(exact));
  const double error = max_abs_error(ours.data(), exact.data(), std::ssize(exact));
  const double alone_error = max_abs_error(single.data(), exact.data(), std::ssize(exact));
  EXPECT_TRUE(error <= tolerance) << error << ", tolerance " << tolerance;
  EXPECT_TRUE(alone_error <= tolerance) << "alone: " << alone_error << ", tolerance " << tolerance;
  std::printf("  error / tolerance %.2f, alone %.2f\n", error / tolerance, alone_error / tolerance);
  for (const Placement& placement : kPlacements) {
    Sequences placed(GetParam(), Backend::kCuda, count, placement);
    EXPECT_TRUE(placed.run(rows()) == ours) << text(placement);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, MixedBatches,
                         testing::Values("llama_64", "mistral_128", "opt_128"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace dak
