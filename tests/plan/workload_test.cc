#include "plan/workload.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/throws_error.h"

namespace dak {
namespace {

Workload parsed(std::string_view text) { return parse_workload(text, "--workload"); }

TEST(Workload, ReadsWhatTheHelpSays) {
  const Workload workload = parsed("decode:batch=32,context=8k*0.8 + prefill:2k*0.2");
  ASSERT_EQ(workload.size(), 2u);
  EXPECT_EQ(workload[0].phase, Phase::kDecode);
  EXPECT_EQ(workload[0].batch, 32);
  EXPECT_EQ(workload[0].context, 8192);
  EXPECT_DOUBLE_EQ(workload[0].share, 0.8);
  EXPECT_EQ(workload[1].phase, Phase::kPrefill);
  EXPECT_EQ(workload[1].tokens, 2048);
  EXPECT_DOUBLE_EQ(workload[1].share, 0.2);
  EXPECT_EQ(most_tokens(workload), 8192);
  EXPECT_EQ(most_sequences(workload), 32);
}

TEST(Workload, SharesAreOfAllTokens) {
  const Workload workload = parsed("decode*3+prefill:100*1");
  EXPECT_DOUBLE_EQ(workload[0].share, 0.75);
  EXPECT_DOUBLE_EQ(workload[1].share, 0.25);
  EXPECT_DOUBLE_EQ(parsed("decode + decode:batch=2")[1].share, 0.5);
  EXPECT_DOUBLE_EQ(parsed("decode*1e-3")[0].share, 1);
}

TEST(Workload, SettingsHaveDefaults) {
  EXPECT_EQ(parsed("decode")[0].batch, 1);
  EXPECT_EQ(parsed("decode")[0].context, 1024);
  EXPECT_EQ(parsed(" prefill : tokens=1m , chunk=512 ")[0].tokens, 1 << 20);
  EXPECT_EQ(parsed("prefill:7,chunk=3")[0].chunk, 3);
}

TEST(Workload, ItsTextParsesToTheSame) {
  for (const char* text : {"decode:batch=32,context=8k*0.8 + prefill:2k,chunk=256*0.2",
                           "prefill:1000", "decode:batch=3,context=77"}) {
    const std::string written = workload_text(parsed(text));
    EXPECT_EQ(workload_text(parsed(written)), written);
    EXPECT_EQ(most_tokens(parsed(written)), most_tokens(parsed(text)));
  }
}

TEST(Workload, PassesCoverAPromptOnce) {
  const std::vector<CountedPass> passes = passes_of(parsed("prefill:1100")[0], 512);
  ASSERT_EQ(passes.size(), 3u);
  int64_t past = 0;
  for (const CountedPass& counted : passes) {
    EXPECT_EQ(counted.count, 1);
    EXPECT_EQ(counted.pass.past, past);
    EXPECT_EQ(counted.pass.sequences, 1);
    past += counted.pass.rows;
    EXPECT_EQ(counted.pass.logit_rows, past == 1100 ? 1 : 0);
  }
  EXPECT_EQ(past, 1100);
  EXPECT_EQ(passes_of(parsed("prefill:1k")[0], 512).size(), 2u);
  EXPECT_EQ(passes_of(parsed("prefill:1")[0], 512)[0].pass.rows, 1);
  const std::vector<CountedPass> step = passes_of(parsed("decode:batch=4,context=9")[0], 512);
  ASSERT_EQ(step.size(), 1u);
  EXPECT_EQ(step[0].pass.rows, 4);
  EXPECT_EQ(step[0].pass.sequences, 4);
  EXPECT_EQ(step[0].pass.past, 8);
  EXPECT_EQ(step[0].pass.logit_rows, 4);
}

TEST(Workload, ALongPromptIsTakenInGroupsOfEqualSums) {
  const WorkloadEntry prompt = parsed("prefill:1m,chunk=3")[0];
  const std::vector<CountedPass> passes = passes_of(prompt, 512);
  EXPECT_LE(passes.size(), 65u);
  double tokens = 0;
  double scores = 0;  // sum of rows x past, as over every chunk
  for (const CountedPass& counted : passes) {
    const auto rows = counted.count * static_cast<double>(counted.pass.rows);
    tokens += rows;
    scores += rows * static_cast<double>(counted.pass.past);
  }
  EXPECT_EQ(tokens, 1 << 20);
  const double whole = (1 << 20) / 3;
  EXPECT_NEAR(scores, 9 * whole * (whole - 1) / 2 + whole * 3, 1e-5 * scores);
}

struct Bad {
  const char* text;
  int character;  // counted from 1
  const char* part;
};

TEST(Workload, WhatDoesNotParseIsSaidWithItsPosition) {
  const Bad bad[] = {
      {"", 1, "phase"},
      {"   ", 4, "phase"},
      {"idle", 1, "idle"},
      {"decode:", 8, "setting"},
      {"decode:batch", 13, "="},
      {"decode:batch=", 14, "count"},
      {"decode:batch=0", 14, "count"},
      {"decode:batch=-3", 14, "count"},
      {"decode:batch=1.5", 14, "count"},
      {"decode:batch=8,batch=9", 16, "twice"},
      {"decode:tokens=8", 8, "setting"},
      {"decode:depth=8", 8, "depth"},
      {"decode:context=99999999999999999999", 16, "more than"},
      {"decode:context=5000m", 16, "more than"},
      {"prefill", 8, "tokens"},
      {"prefill:chunk=5", 16, "tokens"},
      {"prefill:2k,batch=3", 12, "batch"},
      {"prefill:2k,3k", 12, "twice"},
      {"prefill:2q", 9, "count"},
      {"decode*", 8, "share"},
      {"decode*0", 8, "share"},
      {"decode*-1", 8, "share"},
      {"decode*nan", 8, "share"},
      {"decode*inf", 8, "share"},
      {"decode*1e300", 8, "share"},
      {"decode*0.5 prefill:2k", 12, "prefill"},
      {"decode +", 9, "phase"},
      {"decode + + prefill:2k", 10, "phase"},
      {"DECODE", 1, "phase"},
  };
  for (const Bad& c : bad) {
    const std::string place = "--workload: character " + std::to_string(c.character) + " ";
    EXPECT_TRUE(test::throws_error(ErrorCode::kInvalidArgument, {place, c.part}, [&] {
      parsed(c.text);
    })) << c.text;
  }
}

}  // namespace
}  // namespace dak
