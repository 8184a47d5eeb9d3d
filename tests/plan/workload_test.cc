#include "plan/workload.h"

#include <gtest/gtest.h>

#include "base/error.h"

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
  EXPECT_EQ(most_tokens(workload), 8193);
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
  const std::vector<Pass> passes = passes_of(parsed("prefill:1100")[0], 512);
  ASSERT_EQ(passes.size(), 3u);
  int64_t past = 0;
  for (const Pass& pass : passes) {
    EXPECT_EQ(pass.past, past);
    EXPECT_EQ(pass.sequences, 1);
    past += pass.rows;
    EXPECT_EQ(pass.logit_rows, past == 1100 ? 1 : 0);
  }
  EXPECT_EQ(past, 1100);
  const std::vector<Pass> step = passes_of(parsed("decode:batch=4,context=9")[0], 512);
  ASSERT_EQ(step.size(), 1u);
  EXPECT_EQ(step[0].rows, 4);
  EXPECT_EQ(step[0].sequences, 4);
  EXPECT_EQ(step[0].past, 9);
  EXPECT_EQ(step[0].logit_rows, 4);
  EXPECT_THROW(passes_of(parsed("prefill:1m,chunk=1")[0], 512), Error);
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
      {"decode:batch=1.5", 15, "over"},
      {"decode:batch=8,batch=9", 16, "twice"},
      {"decode:tokens=8", 8, "setting"},
      {"decode:depth=8", 8, "depth"},
      {"decode:context=99999999999999999999", 16, "count"},
      {"decode:context=5000m", 16, "more than"},
      {"prefill", 8, "tokens"},
      {"prefill:chunk=5", 16, "tokens"},
      {"prefill:2k,batch=3", 12, "batch"},
      {"prefill:2k,3k", 12, "twice"},
      {"prefill:2q", 10, "over"},
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
    try {
      parsed(c.text);
      ADD_FAILURE() << c.text;
    } catch (const Error& error) {
      const std::string message = error.what();
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_NE(message.find("--workload: character " + std::to_string(c.character) + " "),
                std::string::npos)
          << c.text << ": " << message;
      EXPECT_NE(message.find(c.part), std::string::npos) << c.text << ": " << message;
    }
  }
}

}  // namespace
}  // namespace dak
