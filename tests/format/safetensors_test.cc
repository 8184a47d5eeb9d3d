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

// Only what is read must be of a type that dak reads: buffers, masks, a vision tower in FP8, a type
// of a later version of the format.
TEST(Safetensors, TensorsOfOtherTypesAreListedAndRefusedWhenRead) {
  SafetensorsImage image;
  image.json = R"({"ids":{"dtype":"I64","shape":[2],"data_offsets":[0,16]},
    "mask":{"dtype":"BOOL","shape":[2,2],"data_offsets":[16,20]},
    "w":{"dtype":"F32","shape":[1],"data_offsets":[20,24]},
    "freqs":{"dtype":"C64","shape":[1],"data_offsets":[24,32]},
    "inv_freq":{"dtype":"F64","shape":[1],"data_offsets":[32,40]},
    "fp8":{"dtype":"F8_E4M3","shape":[2,2],"data_offsets":[40,44]},
    "fp4":{"dtype":"F4","shape":[4],"data_offsets":[44,46]},
    "later":{"dtype":"F3_E1M1","shape":[9],"data_offsets":[46,50]}})";
  image.data = std::string(20, '\1') + le(3.0f) + std::string(26, '\1');
  const TemporaryFolder folder;
  folder.write("model.safetensors", image.bytes());
  const Checkpoint checkpoint = open_safetensors(folder.path());
  EXPECT_EQ(checkpoint.tensors().size(), 8u);
  EXPECT_EQ(read_all(checkpoint, "w"), (std::vector<float>{3}));
  for (const auto& [name, type] :
       std::vector<std::pair<std::string, std::string>>{{"ids", "I64"},
                                                        {"mask", "BOOL"},
                                                        {"freqs", "C64"},
                                                        {"fp8", "F8_E4M3"},
                                                        {"fp4", "F4"},
                                                        {"later", "F3_E1M1"}}) {
    EXPECT_EQ(checkpoint.find(name)->type_name(), type);
    expect_error([&, tensor = name] { read_all(checkpoint, tensor); }, ErrorCode::kUnsupported,
                 {"model.safetensors", "tensor " + name, type, "does not read"});
  }
}

// The format allows them: markers, biases of nothing.
TEST(Safetensors, EmptyTensors) {
  SafetensorsImage image;
  image.json = R"({"marker":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},
    "w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
    "middle":{"dtype":"F16","shape":[0,7],"data_offsets":[4,4]},
    "v":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},
    "end":{"dtype":"I8","shape":[3,0],"data_offsets":[8,8]}})";
  image.data = le(3.0f) + le(4.0f);
  const TemporaryFolder folder;
  folder.write("model.safetensors", image.bytes());
  const Checkpoint checkpoint = open_safetensors(folder.path());
  EXPECT_EQ(read_all(checkpoint, "w"), (std::vector<float>{3}));
  EXPECT_EQ(read_all(checkpoint, "v"), (std::vector<float>{4}));
  EXPECT_EQ(read_all(checkpoint, "marker"), std::vector<float>{});
  EXPECT_EQ(checkpoint.find("middle")->shape, (std::vector<int64_t>{0, 7}));
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
  EXPECT_EQ(checkpoint.tensors().size(), 3u);
  EXPECT_EQ(read_all(checkpoint, "a"), (std::vector<float>{1}));
  EXPECT_EQ(read_all(checkpoint, "b"), (std::vector<float>{2}));
  EXPECT_EQ(checkpoint.file_of(*checkpoint.find("b")),
            (folder.path() / "model-2.safetensors").string());
}

}  // namespace
}  // namespace dak
