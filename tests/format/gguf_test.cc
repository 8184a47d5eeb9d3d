#include "format/gguf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "byte_images.h"

namespace dak {
namespace {

GgufImage image_of_every_value_type() {
  GgufImage image;
  image.keys = {
      gguf_key("u8", kGgufU8, le<uint8_t>(200)),
      gguf_key("i8", kGgufI8, le<int8_t>(-100)),
      gguf_key("u16", kGgufU16, le<uint16_t>(60000)),
      gguf_key("i16", kGgufI16, le<int16_t>(-30000)),
      gguf_key("u32", kGgufU32, le<uint32_t>(4000000000)),
      gguf_key("i32", kGgufI32, le<int32_t>(-2000000000)),
      gguf_key("u64", kGgufU64, le<uint64_t>(std::numeric_limits<int64_t>::max())),
      gguf_key("i64", kGgufI64, le<int64_t>(std::numeric_limits<int64_t>::min())),
      gguf_key("f32", kGgufF32, le<float>(1e-5f)),
      gguf_key("f64", kGgufF64, le<double>(0.1)),
      gguf_key("yes", kGgufBool, le<uint8_t>(1)),
      gguf_key("text", kGgufString, gguf_string("Grüße")),
      gguf_array("names", kGgufString, 3, gguf_string("a") + gguf_string("") + gguf_string("\xff")),
      gguf_array("flags", kGgufBool, 3, std::string("\1\0\1", 3)),
      gguf_array("ids", kGgufI32, 2, le<int32_t>(-1) + le<int32_t>(7)),
      gguf_array("scores", kGgufF32, 2, le<float>(0.5f) + le<float>(-2.0f)),
      gguf_array("none", kGgufU8, 0, ""),
  };
  return image;
}

GgufFile open_image(const GgufImage& image) {
  const TemporaryFolder folder;
  return open_gguf(folder.write("model.gguf", image.bytes()));
}

TEST(Gguf, EveryValueType) {
  const GgufFile file = open_image(image_of_every_value_type());
  const GgufMetadata& m = file.metadata;
  EXPECT_EQ(m.values().size(), 17u);
  EXPECT_EQ(m.integer("u8"), 200);
  EXPECT_EQ(m.integer("i8"), -100);
  EXPECT_EQ(m.integer("u16"), 60000);
  EXPECT_EQ(m.integer("i16"), -30000);
  EXPECT_EQ(m.integer("u32"), 4000000000);
  EXPECT_EQ(m.integer("i32"), -2000000000);
  EXPECT_EQ(m.integer("u64"), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(m.integer("i64"), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(m.number("f32"), static_cast<double>(1e-5f));
  EXPECT_EQ(m.number("f64"), 0.1);
  EXPECT_EQ(m.number("u8"), 200.0);
  EXPECT_EQ(m.boolean("yes"), true);
  ASSERT_NE(m.string("text"), nullptr);
  EXPECT_EQ(*m.string("text"), "Grüße");
  EXPECT_EQ(*m.strings("names"), (std::vector<std::string>{"a", "", "\xff"}));
  EXPECT_EQ(std::get<std::vector<bool>>(*m.find("flags")), (std::vector<bool>{true, false, true}));
  EXPECT_EQ(*m.integers("ids"), (std::vector<int64_t>{-1, 7}));
  EXPECT_EQ(*m.numbers("scores"), (std::vector<double>{0.5, -2.0}));
  EXPECT_TRUE(m.integers("none")->empty());
}

TEST(Gguf, MissingKeysAndWrongTypes) {
  const GgufFile file = open_image(image_of_every_value_type());
  const GgufMetadata& m = file.metadata;
  EXPECT_EQ(m.integer("nothing"), std::nullopt);
  EXPECT_EQ(m.number("nothing"), std::nullopt);
  EXPECT_EQ(m.boolean("nothing"), std::nullopt);
  EXPECT_EQ(m.string("nothing"), nullptr);
  EXPECT_EQ(m.strings("nothing"), nullptr);
  EXPECT_EQ(m.integers("nothing"), nullptr);
  EXPECT_EQ(m.numbers("nothing"), nullptr);
  const std::vector<std::pair<std::string, std::function<void()>>> wrong{
      {"text", [&] { m.integer("text"); }},    {"text", [&] { m.number("text"); }},
      {"u8", [&] { m.boolean("u8"); }},        {"f32", [&] { m.integer("f32"); }},
      {"u8", [&] { m.string("u8"); }},         {"ids", [&] { m.strings("ids"); }},
      {"names", [&] { m.integers("names"); }}, {"ids", [&] { m.numbers("ids"); }},
  };
  for (const auto& [key, get] : wrong) {
    expect_error(get, ErrorCode::kCorrupt, {m.file(), key, "should be"});
  }
}

TEST(Gguf, TensorsOfBothVersions) {
  for (const uint32_t version : {2u, 3u}) {
    GgufImage image;
    image.version = version;
    image.tensors = {gguf_tensor("a", {3, 2}, 0, 0), gguf_tensor("q", {32, 1, 2}, 8, 32),
                     gguf_tensor("h", {4}, 1, 128)};
    image.data = le_all<float>({0, 1, 2, 3, 4, 5}) + std::string(8, '\0');
    for (int block = 0; block < 2; ++block) {
      image.data += le<uint16_t>(0x3c00) + std::string(32, static_cast<char>(block + 1));
    }
    image.data.resize(128, '\0');
    image.data += le_all<uint16_t>({0x3c00, 0x4000, 0xbc00, 0});
    const TemporaryFolder folder;
    const GgufFile file = open_gguf(folder.write("model.gguf", image.bytes()));
    EXPECT_EQ(file.version, static_cast<int>(version));
    ASSERT_EQ(file.checkpoint.tensors().size(), 3u);
    const StoredTensor& a = *file.checkpoint.find("a");
    EXPECT_EQ(a.shape, (std::vector<int64_t>{2, 3}));  // outermost first
    std::vector<float> out(3);
    file.checkpoint.read_rows(a, 1, 1, out);
    EXPECT_EQ(out, (std::vector<float>{3, 4, 5}));
    const StoredTensor& q = *file.checkpoint.find("q");
    EXPECT_EQ(q.shape, (std::vector<int64_t>{2, 1, 32}));
    EXPECT_EQ(q.dtype, DType::kQ8_0);
    out.assign(32, 0);
    file.checkpoint.read_rows(q, 1, 1, out);
    EXPECT_EQ(out, std::vector<float>(32, 2.0f));
    out.assign(4, 0);
    file.checkpoint.read_rows(*file.checkpoint.find("h"), 0, 1, out);
    EXPECT_EQ(out, (std::vector<float>{1, 2, -1, 0}));
  }
}

// Known types that dak does not read have their size; a later one's is not known.
TEST(Gguf, TensorsOfOtherTypesAreListedAndRefusedWhenRead) {
  GgufImage image;
  image.tensors = {gguf_tensor("iq", {256}, 16, 0), gguf_tensor("later", {8}, 1000, 96),
                   gguf_tensor("a", {8}, 0, 96), gguf_tensor("none", {4, 0}, 0, 128)};
  image.data = std::string(128, '\0');
  const TemporaryFolder folder;
  const GgufFile file = open_gguf(folder.write("model.gguf", image.bytes()));
  const Checkpoint& checkpoint = file.checkpoint;
  EXPECT_EQ(checkpoint.find("iq")->size_bytes, 66);
  EXPECT_EQ(checkpoint.find("none")->size_bytes, 0);
  std::vector<float> out(8);
  checkpoint.read_rows(*checkpoint.find("a"), 0, 1, out);
  expect_error([&] { checkpoint.read_rows(*checkpoint.find("later"), 0, 1, out); },
               ErrorCode::kUnsupported, {"tensor later", "number 1000", "does not read"});
  expect_error([&] { checkpoint.check_readable(*checkpoint.find("iq")); }, ErrorCode::kUnsupported,
               {"tensor iq", "IQ2_XXS", "Q4_K"});
}

TEST(Gguf, OtherAlignment) {
  GgufImage image;
  image.alignment = 256;
  image.keys = {gguf_key("general.alignment", kGgufU32, le<uint32_t>(256))};
  image.tensors = {gguf_tensor("a", {1}, 0, 0), gguf_tensor("b", {1}, 0, 256)};
  image.data = le(1.0f) + std::string(252, '\0') + le(2.0f);
  const TemporaryFolder folder;
  const GgufFile file = open_gguf(folder.write("model.gguf", image.bytes()));
  std::vector<float> out(1);
  file.checkpoint.read_rows(*file.checkpoint.find("b"), 0, 1, out);
  EXPECT_EQ(out.front(), 2.0f);
}

TEST(Gguf, NoTensorsAndNoKeys) {
  const GgufFile file = open_image({});
  EXPECT_TRUE(file.checkpoint.tensors().empty());
  EXPECT_TRUE(file.metadata.values().empty());
}

}  // namespace
}  // namespace dak
