// On a GPU: a decode step as one persistent kernel gives the logits of a kernel for each operation,
// bit for bit, at any ratio.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "engine/access.h"
#include "engine/kv_cache.h"
#include "model/pass.h"
#include "model/synthetic_support.h"
#include "ops/cuda_backend.h"
#include "ops/decode_graph.h"
#include "support/cuda.h"

namespace dak {
namespace {

constexpr int64_t kContext = 320;
constexpr int kSteps = 70;  // over the end of a page

struct Case {
  std::string model;
  DType dtype = DType::kBF16;
  int64_t sequences = 1;
};

// Decodes sequences of different lengths from random tokens.
class Stepper {
 public:
  Stepper(const Case& test, double ratio, bool persistent)
      : options_{.device = {.backend = Backend::kCuda},
                 .offload_ratio = ratio,
                 .context = kContext,
                 .synthetic_seed = 1,
                 .dtype = test.dtype},
        model_(test::test_data(DAK_TEST_DATA) + "/model/step/" + test.model + "/config.json",
               options_, 1),
        net_(family_named(config().family).make(config(), model_.weights)),
        workspace_(config(), kContext, test.sequences, model_.weights.arena(0), test.dtype),
        cache_(config(), test.dtype, kContext * test.sequences, model_.weights.arena(0)),
        backend_(make_cuda_backend(0)),
        holds_(static_cast<size_t>(test.sequences)) {
    set_persistent_steps(*backend_, persistent);
    ctx_.backend = Backend::kCuda;
    ctx_.cuda = backend_.get();
    ctx_.pool = &model_.pool;
    std::mt19937 random(7);
    for (size_t i = 0; i < holds_.size(); ++i) {
      cache_.reserve(holds_[i], kContext);
      poison(holds_[i]);
      fill(holds_[i], 1 + static_cast<int64_t>(random() % (kContext - kSteps - 1)), random);
    }
  }

  // Of all steps: [kSteps, sequences, vocabulary].
  std::vector<float> logits() {
    Batch batch{.kv_dtype = cache_.dtype(), .table_pages = kv_pages_for(kContext)};
    for (size_t i = 0; i < holds_.size(); ++i) {
      batch.tokens.push_back(static_cast<int32_t>(i % 5));
      batch.positions.push_back(static_cast<int32_t>(holds_[i].tokens));
      batch.sequences.push_back({.pages = &holds_[i].pages,
                                 .past = holds_[i].tokens,
                                 .first_row = static_cast<int64_t>(i),
                                 .rows = 1});
      batch.logit_rows.push_back(static_cast<int32_t>(i));
    }
    Tensor out;
    const auto graph = record_decode_graph(
        ctx_, TokenChoice::kDevice, [&] { return out = net_->forward(ctx_, batch, workspace_); });
    Pass pass(config(), batch, workspace_);
    graph->set_inputs(batch.tokens, batch.positions, pass.enter_layer(0), pass.sequences,
                      std::vector<DrawParams>(holds_.size()));  // greedy
    for (int64_t layer = 0; layer < config().layers; ++layer) {
      const AttentionConfig cache = pass.enter_layer(layer);
      graph->set_pages(cache, pass.sequences);
    }
    std::vector<float> all;
    for (int step = 0; step < kSteps; ++step) {
      graph->launch();
      graph->finish();
      const auto values = host_values(ctx_, out);
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  }

 private:
  const ModelConfig& config() const { return model_.files.config; }

  // NaN in every page, so that a read of what was never written shows.
  void poison(const KvHold& hold) {
    const AttentionConfig cache{
        .kv_heads = config().kv_heads, .head_size = config().head_size, .kv_dtype = cache_.dtype()};
    for (const auto& layer : hold.pages) {
      for (const KvPage& page : layer) {
        ASSERT_EQ(cudaMemset(page.data, 0xff, static_cast<size_t>(cache.page_bytes())),
                  cudaSuccess);
      }
    }
  }

  void fill(KvHold& hold, int64_t tokens, std::mt19937& random) {
    Batch batch{.sequences = {{.pages = &hold.pages, .past = 0, .first_row = 0, .rows = tokens}},
                .kv_dtype = cache_.dtype()};
    for (int64_t i = 0; i < tokens; ++i) {
      batch.tokens.push_back(static_cast<int32_t>(random() % config().vocabulary));
      batch.positions.push_back(static_cast<int32_t>(i));
    }
    net_->forward(ctx_, batch, workspace_);
    hold.tokens = tokens;
  }

  EngineOptions options_;
  test::SyntheticModel model_;
  std::unique_ptr<Model> net_;
  Workspace workspace_;
  KvCache cache_;
  CudaBackendPtr backend_;
  OpContext ctx_;
  std::vector<KvHold> holds_;
};

class PersistentStep : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (const std::string reason = test::no_gpu(KernelKind::kTma); !reason.empty())
      GTEST_SKIP() << reason;
  }
};

TEST_P(PersistentStep, GivesTheBitsOfAKernelForEachOperation) {
  const std::vector<float> expected = Stepper(GetParam(), 0, false).logits();
  ASSERT_TRUE(std::ranges::all_of(expected, [](float x) { return std::isfinite(x); }));
  for (const double ratio : {0.0, 0.05, 0.5, 1.0}) {
    const std::vector<float> found = Stepper(GetParam(), ratio, true).logits();
    ASSERT_EQ(found.size(), expected.size());
    const auto [at, other] = std::ranges::mismatch(found, expected);
    const auto width = std::ssize(expected) / kSteps;
    EXPECT_EQ(std::memcmp(found.data(), expected.data(), expected.size() * sizeof(float)), 0)
        << "ratio " << ratio << ": step " << (at - found.begin()) / width << ", value "
        << (at - found.begin()) % width;
  }
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const char* model : {"llama_64", "qwen3_128", "mistral_128", "opt_128"}) {
    for (const DType dtype : {DType::kBF16, DType::kF16}) {
      for (const int64_t sequences : {1, 8, 13, 29}) all.push_back({model, dtype, sequences});
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Models, PersistentStep, testing::ValuesIn(cases()), [](const auto& test) {
  return test.param.model + "_" + std::string(name(test.param.dtype)) + "_" +
         std::to_string(test.param.sequences);
});

}  // namespace
}  // namespace dak
