#include "base/choice.h"

#include <gtest/gtest.h>

#include "support/throws_error.h"

namespace dak {
namespace {

const std::vector<std::string> kNames{"--hbm-budget", "--host-budget", "--context", "direct",
                                      "uva",          "cuda",          "cpu"};

TEST(Choice, FindsWhatATypoMeans) {
  const std::vector<std::pair<const char*, const char*>> meant{{"--hbm-budgt", "--hbm-budget"},
                                                               {"--hmb-budget", "--hbm-budget"},
                                                               {"--hbm_budget", "--hbm-budget"},
                                                               {"--hbm", "--hbm-budget"},
                                                               {"--HOST-BUDGET", "--host-budget"},
                                                               {"--contxet", "--context"},
                                                               {"--con", "--context"},
                                                               {"driect", "direct"},
                                                               {"uav", "uva"},
                                                               {"cdua", "cuda"}};
  for (const auto& [text, name] : meant) EXPECT_EQ(nearest_name(text, kNames), name) << text;
}

TEST(Choice, FindsNothingWhereNothingIsNear) {
  for (const char* text : {"", "-", "--", "--x", "x", "--temperature", "prefetch", "q", "xyz"}) {
    EXPECT_EQ(nearest_name(text, kNames), "") << text;
  }
  EXPECT_EQ(nearest_name(std::string(100'000, 'd'), kNames), "");
  EXPECT_EQ(nearest_name("direct", {}), "");
}

TEST(Choice, ErrorsNameTheKnown) {
  EXPECT_TRUE(test::throws_error(
      ErrorCode::kInvalidArgument,
      "--mode: 'drect': is no mode; did you mean direct? use direct, "
      "prefetch or uva",
      [] {
        throw_unknown("--mode", "drect", "is no mode", {"direct", "prefetch", "uva"});
      }));
}

}  // namespace
}  // namespace dak
