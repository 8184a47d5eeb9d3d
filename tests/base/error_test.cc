#include "base/error.h"

#include <gtest/gtest.h>

namespace dak {
namespace {

TEST(Error, IsOneLineOfWhereFieldValueProblemFix) {
  const Error error(ErrorCode::kCorrupt,
                    {"a.gguf", "tensor", "blk.0", "is truncated", "fetch it again"});
  EXPECT_STREQ(error.what(), "a.gguf: tensor 'blk.0': is truncated; fetch it again");
  EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
}

TEST(Error, LeavesOutWhatIsEmpty) {
  EXPECT_STREQ(Error(ErrorCode::kIo, {"", "", "7", "no", ""}).what(), "'7': no");
  EXPECT_STREQ(Error(ErrorCode::kIo, {"flag", "", "7", "no", ""}).what(), "flag: '7': no");
}

TEST(Error, NeverPrintsControlCharacters) {
  const Error error(ErrorCode::kCorrupt, {"f", "x", "a\n\x1b[31m", "bad", ""});
  EXPECT_STREQ(error.what(), "f: x 'a\\x0a\\x1b[31m': bad");
}

TEST(Printable, IsCut) { EXPECT_EQ(printable(std::string(200, 'a'), 10), "aaaaaaaaaa..."); }

TEST(Printable, KeepsValidUtf8AndEscapesTheRest) {
  EXPECT_EQ(printable("mod\xc3\xa8le \xe6\xa8\xa1"), "mod\xc3\xa8le \xe6\xa8\xa1");
  EXPECT_EQ(printable("\xc3("), "\\xc3(");
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // a surrogate
  EXPECT_EQ(printable("\xc0\xaf"), "\\xc0\\xaf");           // overlong
  EXPECT_EQ(printable("\xe2\x80\xae"), "\\xe2\\x80\\xae");  // reverses the line's direction
}

}  // namespace
}  // namespace dak
