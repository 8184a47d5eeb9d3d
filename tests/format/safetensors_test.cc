#include "format/safetensors.h"

#include <gtest/gtest.h>

#include <vector>

#include "byte_images.h"

namespace dak {
namespace {

std::vector<float> read_all(const Checkpoint& checkpoint, std::string_view name) {
  const StoredTensor* tensor = checkpoint.find(name);
  if (tensor == nullptr) return {};
  std::vector<float> out(static_cast<size_t>(tensor->rows() * tensor->cols()));
  checkpoint.read_rows(*tensor, 0, tensor->rows(), out);
  return out;
}

TEST(Safetensors, OneFileWithEveryReadableType) {
  SafetensorsImage image;
  image.json = R"({"__metadata__":{"format":"pt"},
    "h":{"dtype":"F16","shape":[2],"data_offsets":[24,28]},
    "w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},
    "b":{"dtype":"BF16","shape":[1,1,2],"data_offsets":[28,32]},
    "s":{"dtype":"F32","shape":[],"data_offsets":[32,36]}}    )";
  image.data = le_all<float>({0, 1, 2, 3, 4, 5}) + le_all<uint16_t>({0x3c00, 0xc000}) +
               le_all<uint16_t>({0x3f80, 0x4000}) + le(7.0f);
  const TemporaryFolder folder;
  folder.write("model.safetensors", image.bytes());
  const Checkpoint checkpoint = open_safetensors(folder.path());
  EXPECT_EQ(checkpoint.tensors().size(), 4u);
  EXPECT_EQ(checkpoint.find("w")->shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(read_all(checkpoint, "w"), (std::vector<float>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(read_all(checkpoint, "h"), (std::vector<float>{1, -2}));
  EXPECT_EQ(read_all(checkpoint, "b"), (std::vector<float>{1, 2}));
  EXPECT_EQ(read_all(checkpoint, "s"), (std::vector<float>{7}));
}

TEST(Safetensors, IntegerBuffersAreSkipped) {
  SafetensorsImage image;
  image.json = R"({"position_ids":{"dtype":"I64","shape":[2],"data_offsets":[0,16]},
    "mask":{"dtype":"BOOL","shape":[2,2],"data_offsets":[16,20]},
    "w":{"dtype":"F32","shape":[1],"data_offsets":[20,24]}})";
  image.data = std::string(20, '\1') + le(3.0f);
  const TemporaryFolder folder;
  folder.write("model.safetensors", image.bytes());
  const Checkpoint checkpoint = open_safetensors(folder.path());
  EXPECT_EQ(checkpoint.tensors().size(), 1u);
  EXPECT_EQ(read_all(checkpoint, "w"), (std::vector<float>{3}));
}

TEST(Safetensors, Shards) {
  const TemporaryFolder folder;
  folder.write("model-1.safetensors",
               SafetensorsImage{.json = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
                               "ids":{"dtype":"I32","shape":[1],"data_offsets":[4,8]}})",
                                .data = le(1.0f) + le<int32_t>(9),
                                .length = {}}
                   .bytes());
  folder.write("model-2.safetensors",
               SafetensorsImage{.json = R"({"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                                .data = le(2.0f),
                                .length = {}}
                   .bytes());
  folder.write("model.safetensors.index.json",
               R"({"metadata":{"total_size":12},"weight_map":{"a":"model-1.safetensors",
                   "ids":"model-1.safetensors","b":"model-2.safetensors"}})");
  const Checkpoint checkpoint = open_safetensors(folder.path());
  EXPECT_EQ(checkpoint.tensors().size(), 2u);
  EXPECT_EQ(read_all(checkpoint, "a"), (std::vector<float>{1}));
  EXPECT_EQ(read_all(checkpoint, "b"), (std::vector<float>{2}));
  EXPECT_EQ(checkpoint.file_of(*checkpoint.find("b")),
            (folder.path() / "model-2.safetensors").string());
}

}  // namespace
}  // namespace dak
