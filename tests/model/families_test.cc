#include "model/families.h"

#include <gtest/gtest.h>

#include <set>

namespace dak {
namespace {

TEST(Families, NamesAreUnique) {
  std::set<std::string_view> names;
  std::set<std::string_view> architectures;
  for (const Family* family : families()) {
    EXPECT_TRUE(names.insert(family->name).second);
    EXPECT_TRUE(architectures.insert(family->hf_architecture).second);
    EXPECT_EQ(&family_named(family->name), family);
    EXPECT_NE(known_hf_architectures().find(family->hf_architecture), std::string::npos);
  }
  EXPECT_EQ(known_gguf_architectures(), "llama, qwen2, qwen3");
}

}  // namespace
}  // namespace dak
