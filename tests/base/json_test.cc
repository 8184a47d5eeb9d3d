#include "base/json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace dak {
namespace {

TEST(Json, NamesFileAndPlace) {
  try {
    parse_json("{\"a\": }", "x.json");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
    EXPECT_EQ(std::string(error.what()).find("x.json: byte 7"), 0u) << error.what();
  }
}

TEST(Json, RefusesDeepNestingButNotManyBrackets) {
  EXPECT_THROW(parse_json(std::string(100000, '['), "x"), Error);
  std::string wide = "[[]";
  for (int i = 0; i < 10000; ++i) wide += ",[\"[[[[\\\"[\"]";
  EXPECT_EQ(parse_json(wide + "]", "x").size(), 10001u);
}

}  // namespace
}  // namespace dak
