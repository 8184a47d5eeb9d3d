#include "format/byte_reader.h"

#include <gtest/gtest.h>

#include "byte_images.h"
#include "support/throws_error.h"

namespace dak {
namespace {

TEST(ByteReader, ReadsAcrossItsBuffer) {
  // 3 bytes first, so that no later value is aligned with the 64 KiB buffer.
  std::string bytes = "abc";
  for (uint32_t i = 0; i < 50000; ++i) bytes += le(i);
  const TemporaryFolder folder;
  const RandomAccessFile file(folder.write("numbers", bytes));
  ByteReader reader(file);
  std::string head(3, '\0');
  reader.read_bytes(std::as_writable_bytes(std::span(head)), "head");
  EXPECT_EQ(head, "abc");
  for (uint32_t i = 0; i < 50000; ++i) {
    ASSERT_EQ(reader.position(), 3 + 4 * static_cast<int64_t>(i));
    ASSERT_EQ(reader.read<uint32_t>("number"), i);
  }
  EXPECT_EQ(reader.remaining(), 0);
  expect_error([&] { reader.read<uint8_t>("after the end"); }, ErrorCode::kCorrupt,
               {file.path(), "after the end"});
}

TEST(ByteReader, LongStringInOneRead) {
  const std::string text(200'000, 'x');
  const std::string bytes = gguf_string(text) + le<uint8_t>(7);
  ByteReader reader(std::as_bytes(std::span(bytes)), "memory");
  EXPECT_EQ(reader.read_string(1 << 20, "text"), text);
  EXPECT_EQ(reader.read<uint8_t>("last"), 7);
}

TEST(ByteReader, CountsAreBoundedByWhatRemains) {
  const auto count = [](uint64_t value, int64_t item_bytes, int64_t limit) {
    const std::string bytes = le(value) + std::string(64, '\0');
    ByteReader reader(std::as_bytes(std::span(bytes)), "memory");
    return reader.read_count(item_bytes, limit, "count");
  };
  EXPECT_EQ(count(16, 4, 1000), 16);
  EXPECT_EQ(count(0, 4, 1000), 0);
  EXPECT_TRUE(test::throws_error(ErrorCode::kCorrupt,
                                 "memory: count '17': does not fit in the 64 bytes that follow it",
                                 [&] { count(17, 4, 1000); }));
  EXPECT_TRUE(test::throws_error(ErrorCode::kCorrupt, "does not fit in the 64 bytes",
                                 [&] { count(~uint64_t{0}, 1, 1000); }));
  EXPECT_TRUE(test::throws_error(ErrorCode::kCorrupt, "does not fit in the 64 bytes",
                                 [&] { count(uint64_t{1} << 63, 8, 1000); }));
  EXPECT_TRUE(test::throws_error(ErrorCode::kCorrupt,
                                 "count '16': is more than the 15 that dak accepts",
                                 [&] { count(16, 4, 15); }));
}

}  // namespace
}  // namespace dak
