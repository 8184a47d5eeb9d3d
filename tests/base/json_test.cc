#include "base/json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "support/throws_error.h"

namespace dak {
namespace {

using test::throws_error;

TEST(Json, NamesFileAndPlace) {
  EXPECT_TRUE(throws_error(ErrorCode::kCorrupt, "x.json: byte 7: is not valid JSON",
                           [] { parse_json("{\"a\": }", "x.json"); }));
}

TEST(Json, RefusesDeepNestingButNotManyBrackets) {
  EXPECT_TRUE(throws_error(ErrorCode::kCorrupt, "x: byte 512: JSON nested deeper than 512",
                           [] { parse_json(std::string(100000, '['), "x"); }));
  std::string wide = "[[]";
  for (int i = 0; i < 10000; ++i) wide += ",[\"[[[[\\\"[\"]";
  EXPECT_EQ(parse_json(wide + "]", "x").size(), 10001u);
}

}  // namespace
}  // namespace dak
