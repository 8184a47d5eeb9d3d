// Models whose tensors lie in several GGUF files, and scales that lie beside their tensor.
#include <gtest/gtest.h>

#include "byte_images.h"
#include "format/gguf.h"

namespace dak {
namespace {

constexpr uint32_t kF32Type = 0;

struct PartKeys {
  std::optional<uint16_t> number;  // from 0
  uint16_t count = 3;
  std::optional<int32_t> tensors;
};

// Tensors of two values each: 10 i, 10 i + 1.
std::string part_of(const PartKeys& keys, const std::vector<int>& tensors) {
  GgufImage image;
  if (keys.number) image.keys.push_back(gguf_key("split.no", kGgufU16, le(*keys.number)));
  image.keys.push_back(gguf_key("split.count", kGgufU16, le(keys.count)));
  if (keys.tensors) {
    image.keys.push_back(gguf_key("split.tensors.count", kGgufI32, le(*keys.tensors)));
  }
  if (keys.number == 0)
    image.keys.push_back(gguf_key("general.name", kGgufString, gguf_string("n")));
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto value = static_cast<float>(10 * tensors[i]);
    image.tensors.push_back(gguf_tensor("t" + std::to_string(tensors[i]), {2}, kF32Type, 32 * i));
    image.data += le_all<float>({value, value + 1}) + std::string(24, '\0');
  }
  return image.bytes();
}

struct Parts {
  TemporaryFolder folder;
  std::vector<std::filesystem::path> paths;

  Parts() {
    add(0, {0, 1}, 5);
    add(1, {2, 3});
    add(2, {4});
  }
  void add(uint16_t number, const std::vector<int>& tensors, std::optional<int32_t> count = {}) {
    paths.push_back(folder.write(fmt::format("m-{:05}-of-00003.gguf", number + 1),
                                 part_of({.number = number, .tensors = count}, tensors)));
  }
};

TEST(GgufParts, AreOneModelWhicheverIsGiven) {
  const Parts parts;
  for (const std::filesystem::path& path : parts.paths) {
    const GgufFile file = open_gguf(path);
    ASSERT_EQ(file.checkpoint.tensors().size(), 5u);
    EXPECT_EQ(*file.metadata.string("general.name"), "n");
    for (int i = 0; i < 5; ++i) {
      std::vector<float> values(2);
      const StoredTensor& tensor = *file.checkpoint.find("t" + std::to_string(i));
      file.checkpoint.read_rows(tensor, 0, 1, values);
      EXPECT_EQ(values, (std::vector<float>{10.0f * static_cast<float>(i),
                                            10.0f * static_cast<float>(i) + 1}));
      EXPECT_EQ(file.checkpoint.file_of(tensor), parts.paths[static_cast<size_t>(i / 2)].string());
    }
    EXPECT_EQ(gguf_stem(path), "m");
  }
  EXPECT_EQ(gguf_stem("a/whole.gguf"), "whole");
  EXPECT_EQ(gguf_stem("a/x-1-of-3.gguf"), "x-1-of-3");
}

TEST(GgufParts, WhatDoesNotBelongTogetherIsRefused) {
  Parts parts;
  const auto refused = [&](ErrorCode code, const std::vector<std::string>& words) {
    expect_error([&] { open_gguf(parts.paths[0]); }, code, words);
  };
  const auto second = [&](const PartKeys& keys, const std::vector<int>& tensors) {
    parts.folder.write("m-00002-of-00003.gguf", part_of(keys, tensors));
  };
  second({.number = 2}, {2, 3});
  refused(ErrorCode::kCorrupt, {"m-00002-of-00003.gguf", "split.no", "part 2"});
  second({.number = {}}, {2, 3});
  refused(ErrorCode::kCorrupt, {"m-00002-of-00003.gguf", "split.no"});
  second({.number = 1, .count = 4}, {2, 3});
  refused(ErrorCode::kCorrupt, {"m-00002-of-00003.gguf", "split.count", "'4'", "3"});
  second({.number = 1}, {2});
  refused(ErrorCode::kCorrupt, {"split.tensors.count", "'5'", "4"});
  second({.number = 1}, {0, 3});
  refused(ErrorCode::kCorrupt, {"t0", "listed twice"});
  std::filesystem::remove(parts.paths[1]);
  refused(ErrorCode::kNotFound, {"m-00002-of-00003.gguf", "is missing", "3 parts"});
  const auto other = parts.folder.write("other.gguf", part_of({.number = 0}, {0}));
  expect_error([&] { open_gguf(other); }, ErrorCode::kInvalidArgument,
               {"other.gguf", "split.count", "-00001-of-00003.gguf"});
}

TEST(GgufScales, AreOfTheirTensor) {
  const auto image_of = [](std::vector<float> scale) {
    GgufImage image;
    image.tensors = {gguf_tensor("a.weight", {2}, kF32Type, 0),
                     gguf_tensor("b.weight", {2}, kF32Type, 32),
                     gguf_tensor("a.scale", {scale.size()}, kF32Type, 64)};
    image.data = le_all<float>({1, -2}) + std::string(24, '\0') + le_all<float>({1, -2}) +
                 std::string(24, '\0') + le_all(scale);
    image.data.resize(96, '\0');
    return image.bytes();
  };
  const TemporaryFolder folder;
  const GgufFile file = open_gguf(folder.write("one.gguf", image_of({0.25f})));
  const auto values = [&](const char* name) {
    std::vector<float> out(2);
    file.checkpoint.read_rows(*file.checkpoint.find(name), 0, 1, out);
    return out;
  };
  EXPECT_EQ(values("a.weight"), (std::vector<float>{0.25f, -0.5f}));
  EXPECT_EQ(values("b.weight"), (std::vector<float>{1, -2}));
  const auto several = folder.write("several.gguf", image_of({1, 2, 3}));
  expect_error([&] { open_gguf(several); }, ErrorCode::kUnsupported, {"a.scale", "several scales"});
}

}  // namespace
}  // namespace dak
