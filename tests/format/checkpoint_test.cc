#include "format/checkpoint.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <thread>
#include <vector>

#include "byte_images.h"
#include "format/dequantise.h"
#include "support/throws_error.h"

namespace dak {
namespace {

Checkpoint one_file(const std::filesystem::path& path, std::vector<StoredTensor> tensors) {
  std::vector<RandomAccessFile> files;
  files.emplace_back(path);
  return {std::move(files), std::move(tensors)};
}

StoredTensor tensor_at(std::string name, DType dtype, std::vector<int64_t> shape, int64_t offset) {
  StoredTensor tensor{.name = std::move(name), .dtype = dtype, .shape = std::move(shape)};
  tensor.offset = offset;
  tensor.size_bytes = bytes_of(dtype, tensor.rows() * tensor.cols());
  return tensor;
}

TEST(StoredTensor, RowsAndColumns) {
  EXPECT_EQ(tensor_at("", DType::kF32, {5}, 0).rows(), 1);
  EXPECT_EQ(tensor_at("", DType::kF32, {5}, 0).cols(), 5);
  EXPECT_EQ(tensor_at("", DType::kF32, {2, 5}, 0).rows(), 2);
  EXPECT_EQ(tensor_at("", DType::kF32, {2, 3, 5}, 0).cols(), 15);
  EXPECT_EQ(tensor_at("", DType::kF32, {}, 0).cols(), 1);
}

// More than one chunk of stored bytes, at an odd offset, and any run of rows.
TEST(Checkpoint, ReadsAnyRows) {
  constexpr int64_t kRows = 70;
  constexpr int64_t kCols = 32 * 1024;
  std::string stored;
  for (int64_t i = 0; i < kRows * kCols / 32; ++i) {
    stored += le<uint16_t>(0x3c00);  // 1.0
    for (int j = 0; j < 32; ++j) stored += static_cast<char>((i * 7 + j * 3) & 0xff);
  }
  const TemporaryFolder folder;
  const auto path = folder.write("weights", "odd" + stored);
  const Checkpoint checkpoint = one_file(path, {tensor_at("w", DType::kQ8_0, {kRows, kCols}, 3)});
  const StoredTensor* tensor = checkpoint.find("w");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(checkpoint.file_of(*tensor), path.string());
  std::vector<float> wanted(static_cast<size_t>(kRows * kCols));
  dequantise(DType::kQ8_0, reinterpret_cast<const std::byte*>(stored.data()), kRows * kCols,
             wanted.data());
  for (const auto& [first, count] :
       std::vector<std::pair<int64_t, int64_t>>{{0, kRows}, {1, 1}, {69, 1}, {3, 40}, {70, 0}}) {
    std::vector<float> got(static_cast<size_t>(count * kCols));
    checkpoint.read_rows(*tensor, first, count, got);
    ASSERT_TRUE(got.empty() || std::memcmp(got.data(), wanted.data() + first * kCols,
                                           got.size() * sizeof(float)) == 0);
  }
}

TEST(Checkpoint, ReadsFromSeveralThreads) {
  std::vector<float> values(1 << 16);
  std::iota(values.begin(), values.end(), 0.0f);
  const TemporaryFolder folder;
  const auto path = folder.write("weights", le_all(values));
  const Checkpoint checkpoint = one_file(path, {tensor_at("w", DType::kF32, {256, 256}, 0)});
  std::vector<std::vector<float>> rows(256, std::vector<float>(256));
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (size_t r = t; r < 256; r += 4) {
        checkpoint.read_rows(*checkpoint.find("w"), static_cast<int64_t>(r), 1, rows[r]);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t r = 0; r < 256; ++r) ASSERT_EQ(rows[r].front(), values[r * 256]);
}

TEST(Checkpoint, MisuseIsAnErrorAndNotAnOverread) {
  const TemporaryFolder folder;
  const auto path = folder.write("weights", std::string(64, '\0'));
  const Checkpoint checkpoint = one_file(path, {tensor_at("w", DType::kF32, {4, 4}, 0)});
  std::vector<float> out(4);
  const StoredTensor& tensor = *checkpoint.find("w");
  EXPECT_EQ(checkpoint.find("v"), nullptr);
  EXPECT_TRUE(test::throws_error(ErrorCode::kInternal, "read_rows: rows outside the tensor",
                                 [&] { checkpoint.read_rows(tensor, 4, 1, out); }));
  EXPECT_TRUE(test::throws_error(ErrorCode::kInternal, "read_rows: rows outside the tensor",
                                 [&] { checkpoint.read_rows(tensor, -1, 1, out); }));
  EXPECT_TRUE(test::throws_error(ErrorCode::kInternal, "read_rows: size of `out`",
                                 [&] { checkpoint.read_rows(tensor, 0, 2, out); }));
  EXPECT_TRUE(
      test::throws_error(ErrorCode::kCorrupt, {path.string(), "tensor 'w': is listed twice"}, [&] {
        one_file(path, {tensor_at("w", DType::kF32, {1}, 0), tensor_at("w", DType::kF32, {1}, 4)});
      }));
}

// The file shrank after it was opened, or a caller made the tensor up.
TEST(Checkpoint, TensorPastTheEndNamesIt) {
  const TemporaryFolder folder;
  const auto path = folder.write("weights", std::string(60, '\0'));
  const Checkpoint checkpoint = one_file(path, {tensor_at("layer.w", DType::kF16, {8, 4}, 0)});
  std::vector<float> out(32);
  expect_error([&] { checkpoint.read_rows(*checkpoint.find("layer.w"), 0, 8, out); },
               ErrorCode::kCorrupt, {path.string(), "layer.w"});
}

}  // namespace
}  // namespace dak
