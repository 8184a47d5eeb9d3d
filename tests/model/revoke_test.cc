// A remote tier given back while sequences are decoded: not a bit of what follows changes, and the
// tier is empty. On the CPU, on a GPU with two arenas of host memory, and with a peer where there
// is a second GPU.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "engine/decode_loop.h"
#include "engine/engine.h"
#include "engine/kv_cache.h"
#include "support/cuda.h"
#include "support/throws_error.h"

namespace dak {
namespace {

constexpr int64_t kSteps = 80;  // over the ends of pages

enum class Place : uint8_t { kCpu, kGpu, kPeer };

// `local`, then "first" and "second", between which everything remote is shared.
std::vector<Tier> three_tiers(Place place) {
  std::vector<Tier> tiers = cpu_tiers(1e9);
  tiers.push_back(tiers[1]);
  tiers[1].name = "first";
  tiers[2].name = "second";
  if (place == Place::kPeer) {
    tiers[1] = peer_tier(0, 1);
    tiers[1].name = "first";
    tiers[1].read_bytes_per_s = tiers[2].read_bytes_per_s;  // so that both get a share
  }
  return tiers;
}

class Revoke : public testing::TestWithParam<Place> {
 protected:
  void SetUp() override {
    if (GetParam() == Place::kCpu) return;
    const std::string reason = GetParam() == Place::kGpu ? test::no_gpu() : test::no_peer();
    if (!reason.empty()) GTEST_SKIP() << reason;
  }

  // As many bytes for weights in the first remote tier as make both used, the ratio being 0.6.
  std::unique_ptr<Engine> make_engine(std::vector<Tier> tiers, EngineOptions options = {}) {
    options.device.backend = GetParam() == Place::kCpu ? Backend::kCpu : Backend::kCuda;
    options.offload_ratio = 0.6;
    options.kv_ratio = 0.9;
    options.context = 256;
    options.sequences = 3;
    options.placement = PlacementPolicy::kUniform;
    options.dtype = DType::kBF16;
    const ModelFiles files =
        open_model(test::test_data(DAK_TEST_DATA) + "/model/gguf/llama_mixed.gguf", true);
    const Plan roomy = plan_model(files, options, tiers);
    tiers[1].capacity_bytes =
        roomy.fixed.kv_remote_bytes[1] + (roomy.weight_bytes() - roomy.weight_bytes_in(0)) / 2;
    return std::make_unique<Engine>(files, options, tiers);
  }
  std::unique_ptr<Engine> make_engine() { return make_engine(three_tiers(GetParam())); }

  static GenerateRequest request() {
    GenerateRequest request{.max_tokens = kSteps, .ignore_eos = true};
    for (int i = 0; i < 70; ++i) request.prompt.push_back(5 + i * 37 % 150);
    return request;
  }

  static void expect_empty(const Engine& engine, TierIndex tier) {
    EXPECT_EQ(engine.plan().bytes_in(tier), 0);
    EXPECT_EQ(engine.plan().tiers[tier].capacity_bytes, 0);
  }
};

TEST_P(Revoke, ChangesNoTokenInTheMiddleOfAnAnswer) {
  const auto undisturbed = make_engine();
  const Plan& plan = undisturbed->plan();
  ASSERT_GT(plan.weight_bytes_in(1), 0);
  ASSERT_GT(plan.weight_bytes_in(2), 0);
  ASSERT_GT(plan.fixed.kv_remote_bytes[1], 0);
  ASSERT_GT(plan.fixed.kv_remote_bytes[2], 0);
  Session session(*undisturbed);
  const GenerateResult expected = session.generate(request());
  ASSERT_GT(expected.decode.traffic.read_bytes[1], 0);
  ASSERT_GT(expected.decode.traffic.read_bytes[2], 0);
  for (const char* name : {"first", "second"}) {
    const auto engine = make_engine();
    const TierIndex from = std::string(name) == "first" ? 1 : 2;
    const TierIndex to = from == 1 ? 2 : 1;
    const int64_t moved = engine->plan().bytes_in(from);
    // The other one has no room but for what it holds: give the engine one with more.
    if (to == 1) {
      EXPECT_TRUE(test::throws_error(ErrorCode::kResourceExhausted,
                                     {std::string("tier ") + name + ": cannot be given back",
                                      "no other remote tier has room (first"},
                                     [&] { engine->revoke_tier(name); }));
      continue;
    }
    Session disturbed(*engine);
    GenerateRequest asked = request();
    std::future<void> done;
    int shown = 0;
    asked.on_token = [&](TokenId, std::string_view) {
      if (++shown == 30) done = engine->revoke_tier_soon(name);
    };
    const GenerateResult result = disturbed.generate(asked);
    EXPECT_EQ(result.tokens, expected.tokens);
    done.get();  // did not fail
    expect_empty(*engine, from);
    EXPECT_GE(engine->plan().bytes_in(to), moved);
    // A further turn reads nothing there.
    asked.on_token = {};
    asked.prompt.insert(asked.prompt.end(), result.tokens.begin(), result.tokens.end());
    asked.prompt.push_back(7);
    Session fresh(*undisturbed);
    const GenerateResult more = disturbed.generate(asked);
    EXPECT_EQ(more.tokens, fresh.generate(asked).tokens);
    EXPECT_EQ(more.decode.traffic.read_bytes[from], 0);
    EXPECT_GT(more.decode.traffic.read_bytes[to], 0);
  }
}

TEST_P(Revoke, ManySequencesGoOn) {
  const auto tokens_of = [](Engine& engine, const std::function<void()>& between) {
    DecodeLoop loop(engine, 3, 100, 1);
    std::vector<TokenId> all;
    for (int i = 0; i < 4; ++i) {
      loop.run(30);
      all.insert(all.end(), loop.last_tokens().begin(), loop.last_tokens().end());
      if (i == 1) between();
    }
    loop.rewind();
    loop.run(20);
    all.insert(all.end(), loop.last_tokens().begin(), loop.last_tokens().end());
    return all;
  };
  const auto undisturbed = make_engine();
  const std::vector<TokenId> expected = tokens_of(*undisturbed, [] {});
  const auto engine = make_engine();
  EXPECT_EQ(tokens_of(*engine, [&] { engine->revoke_tier("first"); }), expected);
  expect_empty(*engine, 1);
}

TEST_P(Revoke, FromAnotherThread) {
  const auto undisturbed = make_engine();
  const std::vector<TokenId> expected = Session(*undisturbed).generate(request()).tokens;
  const auto engine = make_engine();
  std::atomic<bool> begun = false;
  std::thread other([&] {
    while (!begun) std::this_thread::yield();
    engine->revoke_tier_soon("first").get();
  });
  GenerateRequest asked = request();
  asked.on_token = [&](TokenId, std::string_view) {
    begun = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  };
  EXPECT_EQ(Session(*engine).generate(asked).tokens, expected);
  other.join();
  expect_empty(*engine, 1);
}

TEST_P(Revoke, WithoutRoomEverythingStaysAsItWas) {
  std::vector<Tier> tiers = three_tiers(GetParam());
  const Plan plan = make_engine(tiers)->plan();
  tiers[2].capacity_bytes = plan.bytes_in(2) + plan.bytes_in(1) / 2;
  const auto undisturbed = make_engine();
  const std::vector<TokenId> expected = Session(*undisturbed).generate(request()).tokens;
  const auto engine = make_engine(tiers);
  const nlohmann::json before = engine->plan();
  GenerateRequest asked = request();
  std::future<void> done;
  int shown = 0;
  asked.on_token = [&](TokenId, std::string_view) {
    if (++shown == 20) done = engine->revoke_tier_soon("first");
  };
  Session session(*engine);
  const GenerateResult result = session.generate(asked);
  EXPECT_EQ(result.tokens, expected);
  EXPECT_EQ(nlohmann::json(engine->plan()), before);
  EXPECT_TRUE(test::throws_error(ErrorCode::kResourceExhausted, {"tier first", "second"},
                                 [&] { done.get(); }));
}

TEST_P(Revoke, WhatIsNoRemoteTierIsNamed) {
  const auto engine = make_engine();
  for (const char* name : {"local", "third", ""}) {
    EXPECT_TRUE(test::throws_error(ErrorCode::kNotFound,
                                   "is no remote tier of this engine; there are first, second",
                                   [&] { engine->revoke_tier(name); }))
        << name;
  }
  engine->revoke_tier("first");
  engine->revoke_tier("first");  // there is nothing left
  EXPECT_TRUE(test::throws_error(ErrorCode::kResourceExhausted, {"tier second", "there is none"},
                                 [&] { engine->revoke_tier("second"); }));
}

INSTANTIATE_TEST_SUITE_P(Places, Revoke, testing::Values(Place::kCpu, Place::kGpu, Place::kPeer),
                         [](const auto& test) {
                           return std::string(test.param == Place::kCpu   ? "cpu"
                                              : test.param == Place::kGpu ? "cuda"
                                                                          : "peer");
                         });

}  // namespace
}  // namespace dak
