#include "base/call_site.h"

#include <gtest/gtest.h>

namespace dak {
namespace {

int line_of(CallSite where = CallSite::current()) { return where.line; }

TEST(CallSite, IsTheCallersNotItsOwn) { EXPECT_EQ(line_of(), __LINE__); }

}  // namespace
}  // namespace dak
