// A KV cache over two tiers and over three: wherever its pages lie, and however they move between
// steps, not a bit of the logits changes. The same body on both backends.
#include <algorithm>
#include <cstring>
#include <random>

#include "base/error.h"
#include "engine/decode_loop.h"
#include "engine/kv_cache.h"
#include "memory_cuda/arenas.h"
#include "model/pass.h"
#include "model/synthetic_support.h"
#include "ops/cuda_backend.h"
#include "ops/decode_graph.h"
#include "ops/rows.h"
#include "support/cuda.h"
#include "support/kv_faults.h"
#include "support/throws_error.h"

namespace dak {
namespace {

constexpr int64_t kContext = 520;
constexpr int64_t kPages = 21;  // of each layer, over all sequences
constexpr int kSteps = 12;
constexpr int kGraphSteps = 140;  // over the ends of two pages and more

std::string config_of(const std::string& model) {
  return test::test_data(DAK_TEST_DATA) + "/model/step/" + model + "/config.json";
}

struct Case {
  std::string model;
  Device device;
  DType kv_dtype = DType::kBF16;
};

// A third tier is host memory too, in an arena of its own.
std::unique_ptr<Arena> third_arena(const Device& device) {
  const Tier tier{.name = "host:0", .kind = TierKind::kHost};
  return device.backend == Backend::kCuda ? make_pinned_arena(tier, device.ordinal, 0)
                                          : make_cpu_arena(tier);
}

// `kv_ratio` of the pages in remote tiers, over two of them in equal parts.
KvRoom room_over(int tiers, int64_t layers, double kv_ratio) {
  KvRoom room = uniform_kv_room(layers, kPages, kv_ratio);
  for (auto& layer : room) {
    if (tiers < 3) continue;
    layer[2] = layer[1] / 2;
    layer[1] -= layer[2];
  }
  return room;
}

// Three sequences of different lengths.
class Decoding {
 public:
  Decoding(const Case& test, double kv_ratio, int tiers = 2)
      : model_(config_of(test.model), options(test), 1),
        workspace_(model_.declared.program, kContext, 3, model_.weights.arena(0),
                   on_gpu(test) ? DType::kBF16 : DType::kF32),
        tiers_(tiers),
        third_(third_arena(test.device)),
        arenas_{&model_.weights.arena(0), &model_.weights.arena(1), third_.get()},
        cache_(config(), test.kv_dtype, room_over(tiers, config().layers, kv_ratio), arenas_) {
    ctx_.backend = test.device.backend;
    ctx_.pool = &model_.pool;
    if (on_gpu(test)) {
      backend_ = make_cuda_backend(0, test.device.kernels);
      ctx_.cuda = backend_.get();
      mover_ = make_cuda_page_mover(*backend_);
      cache_.use_mover(*mover_);
    }
    test::poison_pages(cache_, config(), arenas_);
    for (size_t i = 0; i < holds_.size(); ++i) {
      const auto tokens = static_cast<int64_t>(60 + 150 * i);
      run({&holds_[i], 1}, std::vector<int64_t>{tokens});
    }
  }

  // One forward pass of so many tokens for each sequence; logits of their last ones.
  std::vector<float> run(std::span<KvHold> holds, const std::vector<int64_t>& counts) {
    Batch batch{.kv_dtype = cache_.dtype()};
    for (size_t i = 0; i < holds.size(); ++i) {
      cache_.reserve(holds[i], holds[i].tokens + counts[i]);
      batch.sequences.push_back({.pages = &holds[i].pages,
                                 .past = holds[i].tokens,
                                 .first_row = batch.rows(),
                                 .rows = counts[i]});
      for (int64_t t = 0; t < counts[i]; ++t) {
        batch.positions.push_back(static_cast<int32_t>(holds[i].tokens));
        batch.tokens.push_back(static_cast<int32_t>(holds[i].tokens++ * 7 % config().vocabulary));
      }
      batch.logit_rows.push_back(static_cast<int32_t>(batch.rows() - 1));
    }
    ctx_.traffic = {};
    const auto logits =
        host_values(ctx_, model_.declared.model->forward(ctx_, model_.weights, batch, workspace_));
    return {logits.begin(), logits.end()};
  }

  std::vector<float> decode(bool migrate) {
    std::mt19937 random(3);
    std::vector<float> all;
    for (int step = 0; step < kSteps; ++step) {
      if (migrate) move_pages(random, 40);
      const std::vector<float> logits = run(holds_, {1, 1, 1});
      all.insert(all.end(), logits.begin(), logits.end());
    }
    return all;
  }

  // Prompts beside a decoding sequence.
  std::vector<float> mixed() {
    std::vector<float> all;
    for (const std::vector<int64_t>& counts :
         {std::vector<int64_t>{40, 1, 17}, {1, 100, 3}, {15, 16, 1}}) {
      const std::vector<float> logits = run(holds_, counts);
      all.insert(all.end(), logits.begin(), logits.end());
    }
    return all;
  }

  // On a GPU, as graphs: each step enqueued before the last one's tokens are read. Tokens of all
  // steps and the last logits.
  std::vector<float> decode_ahead(bool migrate) {
    std::mt19937 random(4);
    Batch batch{.kv_dtype = cache_.dtype(), .table_pages = kv_pages_for(kContext)};
    for (size_t i = 0; i < holds_.size(); ++i) {
      cache_.reserve(holds_[i], holds_[i].tokens + 1);
      batch.tokens.push_back(static_cast<int32_t>(i * 5));
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
    for (int step = 0; step < kGraphSteps; ++step) {
      if (migrate) move_pages(random, 10);
      if (migrate) cache_.rebalance(static_cast<int64_t>(random() % 4));
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
    for (TierIndex tier = 1; tier < tiers_; ++tier) pages += pages_in(tier);
    return pages;
  }
  int64_t pages_in(TierIndex tier) const {
    int64_t pages = 0;
    for (const KvHold& hold : holds_) pages += KvCache::pages_in(hold, tier);
    return pages;
  }
  KvCache& cache() { return cache_; }
  std::span<KvHold> holds() { return holds_; }
  const TierTraffic& traffic() const { return ctx_.traffic; }
  const ModelConfig& config() const { return model_.files.config; }

 private:
  static bool on_gpu(const Case& test) { return test.device.backend == Backend::kCuda; }
  static EngineOptions options(const Case& test) {
    return {.device = test.device,
            .offload_ratio = 0,
            .context = kContext,
            .synthetic_seed = 1,
            .dtype = DType::kBF16};
  }

  void move_pages(std::mt19937& random, int moves) {
    for (int i = 0; i < moves; ++i) {
      KvHold& hold = holds_[random() % holds_.size()];
      cache_.move(hold, static_cast<int64_t>(random()) % config().layers,
                  static_cast<int64_t>(random()) % hold.page_count(),
                  static_cast<TierIndex>(static_cast<int>(random() % 6) % tiers_),
                  random() % 3 == 0 ? KvCache::When::kNow : KvCache::When::kLater);
    }
  }

  test::SyntheticModel model_;
  Workspace workspace_;
  int tiers_;
  std::unique_ptr<Arena> third_;
  std::array<Arena*, 3> arenas_;
  KvCache cache_;
  CudaBackendPtr backend_;
  std::unique_ptr<PageMover> mover_;
  OpContext ctx_;
  std::array<KvHold, 3> holds_;
};

bool finite(const std::vector<float>& values) {
  return std::ranges::all_of(values, [](float x) { return std::isfinite(x); });
}

class KvTiers : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (GetParam().device.backend == Backend::kCpu) return;
    const std::string reason = test::no_gpu(GetParam().device.kernels);
    if (!reason.empty()) GTEST_SKIP() << reason;
  }
};

TEST_P(KvTiers, PlacementNeverChangesABit) {
  const std::vector<float> expected = Decoding(GetParam(), 0).decode(false);
  ASSERT_TRUE(finite(expected));
  for (const double ratio : {0.05, 0.5, 20.0 / 21, 1.0}) {
    Decoding decoding(GetParam(), ratio);
    EXPECT_TRUE(decoding.decode(false) == expected) << "ratio " << ratio;
    if (ratio >= 0.5) {  // else every page that is used fits the local tier
      EXPECT_GT(decoding.remote_pages(), 0) << "ratio " << ratio;
    }
  }
}

TEST_P(KvTiers, NorOfPromptsBesideDecoding) {
  const std::vector<float> expected = Decoding(GetParam(), 0).mixed();
  ASSERT_TRUE(finite(expected));
  for (const double ratio : {0.5, 1.0}) {
    EXPECT_TRUE(Decoding(GetParam(), ratio).mixed() == expected) << "ratio " << ratio;
  }
}

TEST_P(KvTiers, MovingPagesBetweenStepsDoesNot) {
  const std::vector<float> expected = Decoding(GetParam(), 0).decode(false);
  EXPECT_TRUE(Decoding(GetParam(), 0.5).decode(true) == expected);
}

TEST_P(KvTiers, NorDoMovesBesideStepsInFlight) {
  if (GetParam().device.backend == Backend::kCpu) GTEST_SKIP() << "the CPU has no steps in flight";
  const std::vector<float> expected = Decoding(GetParam(), 0).decode_ahead(false);
  ASSERT_TRUE(finite(expected));
  for (const double ratio : {0.5, 20.0 / 21, 1.0}) {
    EXPECT_TRUE(Decoding(GetParam(), ratio).decode_ahead(false) == expected) << "ratio " << ratio;
    EXPECT_TRUE(Decoding(GetParam(), ratio).decode_ahead(true) == expected) << "ratio " << ratio;
  }
}

TEST_P(KvTiers, ThreeTiersChangeNoBit) {
  const std::vector<float> expected = Decoding(GetParam(), 0).decode(false);
  const std::vector<float> mixed = Decoding(GetParam(), 0).mixed();
  for (const double ratio : {0.5, 20.0 / 21, 1.0}) {
    Decoding decoding(GetParam(), ratio, 3);
    EXPECT_TRUE(decoding.decode(false) == expected) << "ratio " << ratio;
    EXPECT_GT(decoding.pages_in(1), 0) << "ratio " << ratio;
    if (ratio > 0.5) {  // else a window of attention may see local pages alone
      EXPECT_GT(decoding.pages_in(2), 0) << "ratio " << ratio;
      EXPECT_GT(decoding.traffic().kv_bytes[1], 0) << "ratio " << ratio;
      EXPECT_GT(decoding.traffic().kv_bytes[2], 0) << "ratio " << ratio;
    }
    EXPECT_TRUE(Decoding(GetParam(), ratio, 3).decode(true) == expected) << "ratio " << ratio;
    EXPECT_TRUE(Decoding(GetParam(), ratio, 3).mixed() == mixed) << "ratio " << ratio;
  }
}

// The slowest tier holds pages only while the faster remote one is full, and gives them up to it.
TEST_P(KvTiers, PagesRiseWhereThereIsRoom) {
  Decoding decoding(GetParam(), 20.0 / 21, 3);
  decoding.decode(false);
  KvCache& cache = decoding.cache();
  ASSERT_GT(decoding.pages_in(2), 0);
  const int64_t places = cache.tier_bytes(1);
  ASSERT_EQ(cache.used_bytes(1), places);
  cache.release(decoding.holds()[1]);
  while (cache.rebalance(kRebalancedPages) > 0) cache.finish_moves();
  for (TierIndex tier = 1; tier < 3; ++tier) {
    const bool full = cache.used_bytes(tier) == cache.tier_bytes(tier);
    EXPECT_TRUE(full || decoding.pages_in(static_cast<TierIndex>(tier + 1)) == 0) << int{tier};
  }
}

TEST_P(KvTiers, RemoteBytesReadAreThoseOfTheTokensThere) {
  Decoding decoding(GetParam(), 1);
  decoding.decode(false);
  const ModelConfig& c = decoding.config();
  int64_t bytes = 0;
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    for (const int64_t length : {60, 210, 360}) {
      const int64_t seen = length + kSteps;
      const int64_t window = c.window_of_layer(layer);
      bytes += (window > 0 ? std::min(window, seen) : seen) * 2 * c.kv_rows() *
               bytes_of(GetParam().kv_dtype, 1);
    }
  }
  EXPECT_EQ(decoding.traffic().kv_bytes[1], bytes);
  EXPECT_EQ(decoding.traffic().read_bytes[1], bytes);
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const char* model : {"llama_64", "mistral_128", "opt_128", "qwen3_128"}) {
    all.push_back({.model = model});
    const auto on_gpu = [&](KernelKind kernels, DType kv_dtype) {
      all.push_back({.model = model,
                     .device = {.backend = Backend::kCuda, .kernels = kernels},
                     .kv_dtype = kv_dtype});
    };
    on_gpu(KernelKind::kTma, DType::kBF16);
    on_gpu(KernelKind::kTma, DType::kF32);
    on_gpu(KernelKind::kPlain, DType::kF16);
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Models, KvTiers, testing::ValuesIn(cases()), [](const auto& test) {
  const Case& c = test.param;
  const bool cpu = c.device.backend == Backend::kCpu;
  return c.model + "_" + (cpu ? "cpu" : std::string(name(c.device.kernels))) + "_" +
         std::string(name(c.kv_dtype));
});

class KvTiersEngine : public testing::TestWithParam<Backend> {
 protected:
  void SetUp() override {
    if (GetParam() == Backend::kCpu) return;
    if (const std::string reason = test::no_gpu(); !reason.empty()) GTEST_SKIP() << reason;
  }
};

INSTANTIATE_TEST_SUITE_P(Backends, KvTiersEngine, testing::Values(Backend::kCpu, Backend::kCuda),
                         [](const auto& test) {
                           return std::string(test.param == Backend::kCpu ? "cpu" : "cuda");
                         });

TEST_P(KvTiersEngine, ChoosesTheSameTokensAndReportsBytes) {
  std::vector<TokenId> expected;
  for (const double ratio : {0.0, 0.9}) {
    Engine engine(open_model(config_of("llama_64"), false),
                  {.device = {.backend = GetParam()},
                   .offload_ratio = 0.2,
                   .kv_ratio = ratio,
                   .context = 400,
                   .sequences = 2,
                   .synthetic_seed = 1,
                   .dtype = DType::kBF16},
                  cpu_tiers(1e9));
    EXPECT_EQ(engine.plan().fixed.kv_all_remote_bytes() > 0, ratio > 0);
    DecodeLoop loop(engine, 2, 250, 3);
    DecodeTiming timing = loop.run(140);  // grows over the ends of pages
    const auto tokens = loop.last_tokens();
    if (expected.empty()) expected.assign(tokens.begin(), tokens.end());
    EXPECT_TRUE(std::ranges::equal(tokens, expected)) << "ratio " << ratio;
    EXPECT_GT(timing.traffic.read_bytes[1], timing.traffic.kv_bytes[1]);
    EXPECT_EQ(timing.traffic.kv_bytes[1] > 0, ratio > 0);
    // Once more: pages that are written again may lie anywhere.
    loop.rewind();
    timing = loop.run(140);
    EXPECT_TRUE(std::ranges::equal(loop.last_tokens(), expected)) << "again, ratio " << ratio;
  }
}

// Graphs for one sequence and for three in turns, prompts in chunks between them, pages moving.
std::vector<TokenId> tokens_in_turns(Engine& engine) {
  std::vector<TokenId> all;
  const auto append = [&](DecodeLoop& loop, int64_t steps) {
    for (int64_t i = 0; i < steps; ++i) {
      loop.run(1);
      all.insert(all.end(), loop.last_tokens().begin(), loop.last_tokens().end());
    }
  };
  for (int round = 0; round < 3; ++round) {
    DecodeLoop two(engine, 2, 100 + 40 * round, 1);
    append(two, 30);
    two.run(40);  // with a step in flight
    DecodeLoop::prefill(engine, 150, 1);
    {
      DecodeLoop one(engine, 1, 130, 2);
      append(one, 70);
    }
    two.rewind();
    append(two, 5);
  }
  return all;
}

TEST_P(KvTiersEngine, PrefetchedPagesGiveTheSameTokens) {
  if (GetParam() == Backend::kCpu) GTEST_SKIP() << "the CPU reads every tier where it lies";
  std::vector<TokenId> expected;
  for (const char* model : {"llama_64", "mistral_128"}) {
    expected.clear();
    for (const double ratio : {0.0, 0.4, 0.9, 1.0}) {
      for (const double weights : {0.0, 0.6}) {
        const bool prefetch = ratio > 0;
        Engine engine(open_model(config_of(model), false),
                      {.device = {.backend = GetParam()},
                       .offload_ratio = weights,
                       .kv_ratio = ratio,
                       .context = 320,
                       .sequences = 3,
                       .mode = prefetch ? AccessMode::kPrefetch : AccessMode::kDirect,
                       .synthetic_seed = 1,
                       .dtype = DType::kBF16,
                       .prefill_chunk = 70},
                      cpu_tiers(1e9));
        EXPECT_EQ(engine.plan().fixed.kv_buffer_bytes > 0, prefetch);
        const std::vector<TokenId> tokens = tokens_in_turns(engine);
        if (expected.empty()) expected = tokens;
        EXPECT_EQ(tokens, expected) << model << ", KV " << ratio << ", weights " << weights;
      }
    }
  }
}

TEST_P(KvTiersEngine, ATierTooSmallIsSaidBeforeLoading) {
  const auto start = [] {
    Engine engine(open_model(config_of("llama_64"), false),
                  {.device = {.backend = GetParam()},
                   .host_budget_bytes = 1000,
                   .kv_ratio = 0.5,
                   .context = 300,
                   .synthetic_seed = 1,
                   .dtype = DType::kBF16},
                  cpu_tiers(1e9));
  };
  EXPECT_TRUE(test::throws_error(ErrorCode::kResourceExhausted, "--kv-ratio", start));
}

// One request too many ends with an error; who was there before goes on as if alone, and the one
// that failed can be asked again.
TEST_P(KvTiersEngine, ARequestWithoutRoomEndsAlone) {
  Engine engine(open_model(test::test_data(DAK_TEST_DATA) + "/model/gguf/llama_mixed.gguf", true),
                {.device = {.backend = GetParam()},
                 .offload_ratio = 0.5,
                 .kv_ratio = 0.75,
                 .context = 256,
                 .dtype = DType::kBF16},
                cpu_tiers(1e9));
  const auto prompt = [](int tokens) {
    GenerateRequest request{.max_tokens = 30, .ignore_eos = true};
    for (int i = 0; i < tokens; ++i) request.prompt.push_back(5 + i * 37 % 150);
    return request;
  };
  std::vector<TokenId> alone;
  {
    Session session(engine);
    alone = session.generate(prompt(40)).tokens;
  }
  Session late(engine);
  {
    Session first(engine);
    first.generate(prompt(100));  // three pages of four: 130 tokens
    GenerateRequest more = prompt(40);
    more.max_tokens = 200;  // no room after 64
    EXPECT_TRUE(test::throws_error(ErrorCode::kResourceExhausted, "KV cache: has room for",
                                   [&] { late.generate(more); }));
    GenerateRequest on = prompt(100);
    EXPECT_EQ(first.generate(on).tokens.size(), 30u);
    EXPECT_TRUE(test::throws_error(ErrorCode::kResourceExhausted, "KV cache: has room for",
                                   [&] { late.generate(more); }));
    GenerateRequest less = prompt(40);
    less.max_tokens = 20;
    EXPECT_EQ(late.generate(less).tokens, std::vector(alone.begin(), alone.begin() + 20));
  }
  EXPECT_EQ(late.generate(prompt(40)).tokens, alone);
}

}  // namespace
}  // namespace dak
