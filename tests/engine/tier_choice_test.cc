// --tiers: what is understood, what is refused and how, and in what order tiers come out.
#include "engine/tier_choice.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/device.h"
#include "hardware/presets.h"
#include "memory/numa.h"
#include "support/throws_error.h"

namespace dak {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;

std::string refusal(std::string_view text) {
  const std::optional<Error> error = test::error_of([&] { parse_tiers(text, "--tiers"); });
  if (!error) return "accepted";
  EXPECT_EQ(error->code(), ErrorCode::kInvalidArgument);
  EXPECT_TRUE(test::has_words(error->what(), "--tiers"));
  return error->what();
}

std::string refusal(const std::function<void()>& choose, ErrorCode code) {
  const std::optional<Error> error = test::error_of(choose);
  if (!error) return "accepted";
  EXPECT_EQ(error->code(), code) << error->what();
  return error->what();
}

TEST(Tiers, AreRead) {
  const TierChoices choices = parse_tiers("local=1GiB, peer:1=60GiB,host, host:0=5m", "--tiers");
  ASSERT_EQ(choices.size(), 4u);
  EXPECT_EQ(choices[0], (TierChoice{"local", TierKind::kLocal, -1, kGiB}));
  EXPECT_EQ(choices[1], (TierChoice{"peer:1", TierKind::kPeer, 1, 60 * kGiB}));
  EXPECT_EQ(choices[2], (TierChoice{"host", TierKind::kHost, -1, std::nullopt}));
  EXPECT_EQ(choices[3], (TierChoice{"host:0", TierKind::kHost, 0, int64_t{5} << 20}));
}

TEST(Tiers, WhatIsWrongIsNamed) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"local,disk=1GiB", "disk=1GiB"},
      {"local,host,host=2GiB", "host twice"},
      {"local,host:01,host:1", "host:1 twice"},
      {"local,host=lots", "lots"},
      {"local,host=-1GiB", "-1GiB"},
      {"local,host=0", "host=0"},
      {"local,,host", "empty entry"},
      {"", "empty entry"},
      {"host=1GiB", "no local tier"},
      {"local:0,host", "local has no number"},
      {"local,peer:x", "peer:x"},
      {"local,peer:", "peer:"},
      {"local,host:-1", "host:-1"},
      {"local,host:0,host:1,host:2,host:3,host:4,host:5,host:6,host:7", "9 tiers"},
  };
  for (const auto& [text, part] : cases) {
    EXPECT_NE(refusal(text).find(part), std::string::npos) << text << ": " << refusal(text);
  }
}

std::vector<Tier> machine() {
  return {{.name = "local",
           .kind = TierKind::kLocal,
           .capacity_bytes = 80 * kGiB,
           .read_bytes_per_s = 4e12},
          {.name = "host",
           .kind = TierKind::kHost,
           .capacity_bytes = 500 * kGiB,
           .read_bytes_per_s = 5e10},
          {.name = "peer:1",
           .kind = TierKind::kPeer,
           .node = 1,
           .capacity_bytes = 70 * kGiB,
           .read_bytes_per_s = 4e11}};
}

TEST(Tiers, ComeFromFastToSlowWithTheirSizes) {
  const std::vector<Tier> tiers =
      choose_tiers(parse_tiers("host=100GiB,peer:1,local=9GiB", "--tiers"), machine());
  ASSERT_EQ(tiers.size(), 3u);
  EXPECT_EQ(tiers[0].name, "local");
  EXPECT_EQ(tiers[0].capacity_bytes, 80 * kGiB);  // its size is a budget
  EXPECT_EQ(tiers[1].name, "peer:1");
  EXPECT_EQ(tiers[1].capacity_bytes, 70 * kGiB);
  EXPECT_EQ(tiers[2].name, "host");
  EXPECT_EQ(tiers[2].capacity_bytes, 100 * kGiB);
}

TEST(Tiers, ANumberMayBeLeftAwayWhereOneFits) {
  const auto choose = [](const char* text) {
    return choose_tiers(parse_tiers(text, "--tiers"), machine());
  };
  EXPECT_EQ(choose("local,peer")[1].node, 1);
  EXPECT_EQ(choose("local,host:3")[1].node, 3);
  EXPECT_NE(refusal([&] { choose("local,peer:2"); }, ErrorCode::kUnsupported).find("peer:1"),
            std::string::npos);
  EXPECT_NE(refusal([&] { choose("local,host,host:3"); }, ErrorCode::kInvalidArgument)
                .find("another entry"),
            std::string::npos);
  std::vector<Tier> two = machine();
  two.push_back(two.back());
  two.back().name = "peer:2";
  EXPECT_NE(refusal([&] { choose_tiers(parse_tiers("local,peer", "--tiers"), two); },
                    ErrorCode::kInvalidArgument)
                .find("peer:1, peer:2"),
            std::string::npos);
}

TEST(Tiers, NodesOfThisMachineAreHostTiersOfTheirOwn) {
  const std::vector<NumaMemory> nodes = numa_memories();
  if (nodes.empty()) GTEST_SKIP() << "the system names no NUMA nodes";
  const std::string name = fmt::format("host:{}", nodes[0].node);
  const std::vector<Tier> tiers = machine_tiers(
      parse_tiers("local,host=1GiB," + name + "=2GiB", "--tiers"), Device{}, cpu_tiers(1e9));
  ASSERT_EQ(tiers.size(), 3u);
  EXPECT_EQ(tiers[1].name, "host");
  EXPECT_EQ(tiers[1].capacity_bytes, kGiB);
  EXPECT_EQ(tiers[2].name, name);
  EXPECT_EQ(tiers[2].node, nodes[0].node);
  EXPECT_EQ(tiers[2].capacity_bytes, 2 * kGiB);
  EXPECT_EQ(tiers[2].channel, tiers[1].channel);
  const auto there = [](const char* text) {
    machine_tiers(parse_tiers(text, "--tiers"), Device{}, cpu_tiers(1e9));
  };
  EXPECT_NE(refusal([&] { there("local,host:999"); }, ErrorCode::kUnsupported).find(name),
            std::string::npos);
  EXPECT_NE(refusal([&] { there("local,peer:1"); }, ErrorCode::kUnsupported).find("CPU"),
            std::string::npos);
}

}  // namespace
}  // namespace dak
