#include "hardware/profile.h"

#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "hardware/presets.h"
#include "support/throws_error.h"

namespace dak {
namespace {

Json preset_json(std::string_view wanted) {
  for (const PresetText& preset : preset_texts()) {
    if (preset.name == wanted) return parse_json(preset.json, preset.name);
  }
  throw std::runtime_error("no such preset");
}

TEST(Presets, AreThoseThatAreDocumentedAndNameTheirSources) {
  std::set<std::string> names;
  for (const PresetText& preset : preset_texts()) {
    const HardwareProfile profile = hardware_named(preset.name);
    EXPECT_EQ(profile.name, preset.name);
    EXPECT_EQ(profile.device, "cuda");
    EXPECT_GE(profile.sources.size(), 2u) << preset.name;
    EXPECT_EQ(profile.tiers[0].kind, TierKind::kLocal);
    ASSERT_GE(profile.tiers.size(), 2u);
    EXPECT_LT(profile.tiers[1].read_bytes_per_s, profile.tiers[0].read_bytes_per_s);
    EXPECT_GT(profile.peak_of(DType::kBF16), profile.peak_of(DType::kF32));
    names.emplace(preset.name);
  }
  for (const char* name : {"gh200", "gb200", "rtx-pro-6000", "h100-pcie", "h100", "h200", "a100"}) {
    EXPECT_TRUE(names.contains(name)) << name;
  }
}

TEST(Presets, AreFoundByTheNameOfTheDriver) {
  ASSERT_NE(preset_of_processor("NVIDIA H100 80GB HBM3"), nullptr);
  EXPECT_EQ(preset_of_processor("NVIDIA H100 80GB HBM3")->name, "h100");
  EXPECT_EQ(preset_of_processor("NVIDIA H900"), nullptr);
}

TEST(Presets, WhatIsNeitherPresetNorFileNamesThePresets) {
  EXPECT_TRUE(test::throws_error(ErrorCode::kNotFound,
                                 {"--hardware", "h9000", "gh200", "rtx-pro-6000"},
                                 [&] { hardware_named("h9000"); }));
}

TEST(Profile, WritingAndReadingLosesNothing) {
  for (const PresetText& preset : preset_texts()) {
    HardwareProfile profile = hardware_named(preset.name);
    profile.uuid = "GPU-0";
    profile.driver = "580.65.06";
    const Json written = profile;
    EXPECT_EQ(Json(parse_profile(written, "written")), written);
    const HardwareProfile read = parse_profile(written, "written");
    EXPECT_EQ(read.uuid, "GPU-0");
    EXPECT_NEAR(read.tiers[1].read_bytes_per_s, profile.tiers[1].read_bytes_per_s, 1);
    EXPECT_EQ(read.tiers[1].loaded_round_trip_us, profile.tiers[1].loaded_round_trip_us);
    EXPECT_EQ(read.tiers[1].most_window_bytes, profile.tiers[1].most_window_bytes);
    EXPECT_EQ(read.plan_tiers().size(), profile.tiers.size());
  }
}

TEST(Profile, WhatAProbeAddsIsKept) {
  HardwareProfile profile = hardware_named("h100");
  profile.launch_overlapped_us = 0.7;
  profile.numa_nodes = {
      {.node = 0, .memory_bytes = 1 << 30, .nearest = true, .read_bytes_per_s = 5e10},
      {.node = 1, .memory_bytes = 1 << 29}};
  profile.tiers[0].sustained_bytes_per_s = 3.13e12;
  profile.tiers[1].write_bytes_per_s = 5.2e10;
  profile.tiers[1].window_map = {{.window_bytes = 262144,
                                  .readers = 8,
                                  .remote_bytes_per_s = 5.1e10,
                                  .local_bytes_per_s = 3.125e12,
                                  .round_trip_us = 5.07}};
  const HardwareProfile read = parse_profile(Json(profile), "written");
  EXPECT_EQ(Json(read), Json(profile));
  EXPECT_EQ(read.launch_overlapped_us, 0.7);
  ASSERT_EQ(read.numa_nodes.size(), 2u);
  EXPECT_TRUE(read.numa_nodes[0].nearest);
  EXPECT_FALSE(read.numa_nodes[1].read_bytes_per_s);
  EXPECT_NEAR(read.tiers[0].sustained_bytes_per_s.value_or(0), 3.13e12, 1);
  ASSERT_EQ(read.tiers[1].window_map.size(), 1u);
  EXPECT_EQ(read.tiers[1].window_map[0].window_bytes, 262144);
  EXPECT_EQ(read.tiers[1].window_map[0].readers, 8);
  EXPECT_NEAR(read.tiers[1].window_map[0].local_bytes_per_s, 3.125e12, 1);
  EXPECT_EQ(read.tiers[1].window_map[0].round_trip_us, 5.07);
}

struct Damage {
  const char* name;
  std::function<void(Json&)> edit;
  std::vector<std::string> expected;
  ErrorCode code = ErrorCode::kCorrupt;
};

TEST(Profile, DamageNamesFileFieldAndValue) {
  const auto host = [](Json& json) -> Json& { return json["tiers"][1]; };
  const std::vector<Damage> damages{
      {"format",
       [](Json& j) { j["format"] = "a shopping list"; },
       {"format", "a shopping list"},
       ErrorCode::kUnsupported},
      {"no format",
       [](Json& j) { j.erase("format"); },
       {"format", "dak probe"},
       ErrorCode::kUnsupported},
      {"version",
       [](Json& j) { j["version"] = 1; },
       {"version", "1", "dak probe"},
       ErrorCode::kUnsupported},
      {"version is no number",
       [](Json& j) { j["version"] = "one"; },
       {"version", "one"},
       ErrorCode::kUnsupported},
      {"unknown field",
       [](Json& j) { j["rgb_leds"] = 7; },
       {"rgb_leds", "7"},
       ErrorCode::kUnsupported},
      {"unknown field of a tier",
       [&](Json& j) { host(j)["speed"] = 1; },
       {"tiers[1].speed"},
       ErrorCode::kUnsupported},
      {"missing field", [&](Json& j) { host(j).erase("read_gb_s"); }, {"tiers[1].read_gb_s"}},
      {"negative rate",
       [&](Json& j) { host(j)["read_gb_s"] = -51.1; },
       {"tiers[1].read_gb_s", "-51.1"}},
      {"zero rate", [&](Json& j) { host(j)["read_gb_s"] = 0; }, {"tiers[1].read_gb_s", "0"}},
      {"bytes for gigabytes",
       [&](Json& j) { host(j)["read_gb_s"] = 51.1e9; },
       {"tiers[1].read_gb_s"}},
      {"rate is text",
       [&](Json& j) { host(j)["read_gb_s"] = "fast"; },
       {"tiers[1].read_gb_s", "fast"}},
      {"capacity", [&](Json& j) { host(j)["capacity_bytes"] = 0; }, {"tiers[1].capacity_bytes"}},
      {"kind",
       [&](Json& j) { host(j)["kind"] = "tape"; },
       {"tiers[1].kind", "tape"},
       ErrorCode::kUnsupported},
      {"two local tiers", [&](Json& j) { host(j)["kind"] = "local"; }, {"tiers[1].kind"}},
      {"no local tier", [](Json& j) { j["tiers"][0]["kind"] = "host"; }, {"tiers[0].kind"}},
      {"two names", [&](Json& j) { host(j)["name"] = "local"; }, {"tiers[1].name", "local"}},
      {"one channel, two rates",
       [&](Json& j) { host(j)["channel"] = "HBM"; },
       {"tiers[1].read_gb_s", "channel"}},
      {"round trips",
       [&](Json& j) { host(j)["loaded_round_trip_us"] = 0.1; },
       {"loaded_round_trip_us", "0.1"}},
      {"windows", [&](Json& j) { host(j)["most_window_bytes"] = 1; }, {"most_window_bytes", "1"}},
      {"faster under load",
       [&](Json& j) { host(j)["local_under_load_gb_s"] = 5000; },
       {"local_under_load_gb_s", "5000"}},
      {"sustained rate",
       [](Json& j) { j["tiers"][0]["sustained_gb_s"] = "much"; },
       {"tiers[0].sustained_gb_s", "much"}},
      {"cell of a map",
       [&](Json& j) {
         host(j)["window_map"] = {{262144, 8, 51.1, 3100.0}};
       },
       {"tiers[1].window_map[0]", "round trip"}},
      {"readers of a map",
       [&](Json& j) {
         host(j)["window_map"] = {{262144, 0, 51.1, 3100.0, 5.0}};
       },
       {"tiers[1].window_map[0][1]", "0"}},
      {"NUMA node",
       [](Json& j) {
         j["numa_nodes"] = {{{"node", -1}, {"memory_bytes", 1}, {"nearest", true}}};
       },
       {"numa_nodes[0].node", "-1"}},
      {"launch", [](Json& j) { j["launch_overlapped_us"] = -1; }, {"launch_overlapped_us", "-1"}},
      {"no tiers", [](Json& j) { j["tiers"] = Json::array(); }, {"tiers"}},
      {"device",
       [](Json& j) { j["device"] = "abacus"; },
       {"device", "abacus"},
       ErrorCode::kUnsupported},
      {"peak", [](Json& j) { j["peak_tflops"]["bf16"] = 0; }, {"peak_tflops.bf16", "0"}},
      {"no peak", [](Json& j) { j["peak_tflops"].erase("bf16"); }, {"peak_tflops.bf16"}},
      {"unknown peak",
       [](Json& j) { j["peak_tflops"]["int3"] = 1; },
       {"peak_tflops.int3"},
       ErrorCode::kUnsupported},
      {"source", [](Json& j) { j["sources"] = Json::array({3}); }, {"sources[0]", "3"}},
      {"not an object", [](Json& j) { j = 5; }, {"must be an object"}},
  };
  for (const Damage& damage : damages) {
    Json json = preset_json("h100");
    damage.edit(json);
    std::vector<std::string> words{"machine.json"};
    words.insert(words.end(), damage.expected.begin(), damage.expected.end());
    EXPECT_TRUE(test::throws_error(damage.code, words, [&] {
      parse_profile(json, "machine.json");
    })) << damage.name;
  }
}

}  // namespace
}  // namespace dak
