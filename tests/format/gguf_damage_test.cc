// What a GGUF file can have wrong: each is a typed error that names file and field.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "byte_images.h"
#include "format/gguf.h"
#include "support/throws_error.h"

namespace dak {
namespace {

constexpr uint32_t kF32 = 0;
constexpr uint32_t kQ8_0 = 8;
constexpr uint32_t kQ4_K = 12;
constexpr uint64_t kHuge = uint64_t{1} << 62;

// Two tensors of 8 f32 and one key of each shape of value.
GgufImage valid_image() {
  GgufImage image;
  image.keys = {gguf_key("general.architecture", kGgufString, gguf_string("llama")),
                gguf_key("llama.block_count", kGgufU32, le<uint32_t>(2)),
                gguf_array("tokens", kGgufString, 2, gguf_string("a") + gguf_string("bc"))};
  image.tensors = {gguf_tensor("first", {4, 2}, kF32, 0), gguf_tensor("second", {8}, kF32, 32)};
  image.data = std::string(64, '\0');
  return image;
}

struct Damage {
  std::string name;
  std::function<void(GgufImage&)> damage;
  ErrorCode code;
  std::vector<std::string> parts;
};

// The only key, in place of the valid ones.
std::function<void(GgufImage&)> with_key(std::string key) {
  return [key = std::move(key)](GgufImage& image) { image.keys = {key}; };
}
// The only tensor, in place of the valid ones.
std::function<void(GgufImage&)> with_tensor(std::string tensor) {
  return [tensor = std::move(tensor)](GgufImage& image) { image.tensors = {tensor}; };
}

std::vector<Damage> damages() {
  using enum ErrorCode;
  return {
      {"wrong magic", [](auto& i) { i.magic = "ELF!"; }, kCorrupt, {"magic", "ELF!"}},
      {"big-endian magic",
       [](auto& i) { i.magic = "FUGG"; },
       kUnsupported,
       {"magic", "big-endian"}},
      {"old ggml", [](auto& i) { i.magic = "tjgg"; }, kUnsupported, {"magic", "before GGUF"}},
      {"version 0", [](auto& i) { i.version = 0; }, kUnsupported, {"version", "'0'"}},
      {"version 1", [](auto& i) { i.version = 1; }, kUnsupported, {"version", "'1'", "convert"}},
      {"version 4", [](auto& i) { i.version = 4; }, kUnsupported, {"version", "'4'"}},
      {"big-endian version",
       [](auto& i) { i.version = 0x03000000; },
       kUnsupported,
       {"version", "big-endian"}},
      {"huge key count", [](auto& i) { i.key_count = kHuge; }, kCorrupt, {"metadata count"}},
      {"key count past its keys", [](auto& i) { i.key_count = 12; }, kCorrupt, {"metadata"}},
      {"huge tensor count", [](auto& i) { i.tensor_count = kHuge; }, kCorrupt, {"tensor count"}},
      {"negative tensor count",
       [](auto& i) { i.tensor_count = ~uint64_t{0}; },
       kCorrupt,
       {"tensor count"}},
      {"huge key length",
       with_key(le(kHuge) + "abc" + std::string(32, '\0')),
       kCorrupt,
       {"metadata key 0"}},
      {"empty key", with_key(gguf_key("", kGgufU8, "x")), kCorrupt, {"metadata key 0", "empty"}},
      {"duplicate key",
       [](auto& i) { i.keys.push_back(i.keys[1]); },
       kCorrupt,
       {"llama.block_count", "twice"}},
      {"unknown value type", with_key(gguf_key("k.type", 13, "x")), kCorrupt, {"k.type", "'13'"}},
      {"huge string", with_key(gguf_key("k.text", kGgufString, le(kHuge))), kCorrupt, {"k.text"}},
      {"boolean of 2",
       with_key(gguf_key("k.bool", kGgufBool, "\2")),
       kCorrupt,
       {"k.bool", "boolean"}},
      {"u64 past int64",
       with_key(gguf_key("k.big", kGgufU64, le(~uint64_t{0}))),
       kUnsupported,
       {"k.big", "2^63"}},
      {"huge array", with_key(gguf_array("k.list", kGgufU8, kHuge, "")), kCorrupt, {"k.list"}},
      {"huge array of strings",
       with_key(gguf_array("k.list", kGgufString, 1000, "")),
       kCorrupt,
       {"k.list", "1000"}},
      {"array of an unknown type",
       with_key(gguf_array("k.list", 99, 1, "x")),
       kCorrupt,
       {"k.list", "99"}},
      {"nested array",
       with_key(gguf_array("k.list", kGgufArray, 1, le<uint64_t>(0))),
       kUnsupported,
       {"k.list", "nested"}},
      {"huge string in an array",
       with_key(gguf_array("k.list", kGgufString, 1, le(kHuge))),
       kCorrupt,
       {"k.list"}},
      {"split file",
       with_key(gguf_key("split.count", kGgufU16, le<uint16_t>(3))),
       ErrorCode::kInvalidArgument,
       {"split.count", "'3'", "NAME-00001-of-00003.gguf"}},
      {"dimensions of an empty tensor",
       with_tensor(gguf_tensor("t", {uint64_t{1} << 40, 0, uint64_t{1} << 40}, 0, 0)),
       kCorrupt,
       {"t dimension", "more elements"}},
      {"alignment 0",
       with_key(gguf_key("general.alignment", kGgufU32, le<uint32_t>(0))),
       kCorrupt,
       {"general.alignment", "'0'"}},
      {"alignment 48",
       with_key(gguf_key("general.alignment", kGgufU32, le<uint32_t>(48))),
       kCorrupt,
       {"general.alignment", "'48'"}},
      {"alignment -32",
       with_key(gguf_key("general.alignment", kGgufI32, le<int32_t>(-32))),
       kCorrupt,
       {"general.alignment", "'-32'"}},
      {"alignment 2 GiB",
       with_key(gguf_key("general.alignment", kGgufU32, le(0x80000000u))),
       kCorrupt,
       {"general.alignment"}},
      {"alignment as text",
       with_key(gguf_key("general.alignment", kGgufString, gguf_string("32"))),
       kCorrupt,
       {"general.alignment", "integer"}},
      {"huge tensor name",
       with_tensor(le(kHuge) + std::string(64, 'n')),
       kCorrupt,
       {"tensor name 0"}},
      {"empty tensor name",
       with_tensor(gguf_tensor("", {8}, kF32, 0)),
       kCorrupt,
       {"tensor name 0", "empty"}},
      {"duplicate tensor",
       [](auto& i) { i.tensors[1] = gguf_tensor("first", {8}, kF32, 32); },
       kCorrupt,
       {"first", "twice"}},
      {"rank 0",
       with_tensor(gguf_tensor("t", {}, kF32, 0) + std::string(16, '\0')),
       kCorrupt,
       {"tensor t rank", "'0'"}},
      {"rank 5",
       with_tensor(gguf_tensor("t", {1, 1, 1, 1, 1}, kF32, 0)),
       kCorrupt,
       {"tensor t rank", "'5'"}},
      {"negative dimension",
       with_tensor(gguf_tensor("t", {~uint64_t{0}}, kF32, 0)),
       kCorrupt,
       {"tensor t dimension"}},
      {"overflowing dimensions",
       with_tensor(gguf_tensor("t", {uint64_t{1} << 32, uint64_t{1} << 32}, kF32, 0)),
       kCorrupt,
       {"tensor t dimension"}},
      {"dimensions past the file",
       with_tensor(gguf_tensor("t", {uint64_t{1} << 40}, kF32, 0)),
       kCorrupt,
       {"tensor t offset", "outside"}},
      {"unreadable type past the file",
       with_tensor(gguf_tensor("t", {512}, 16, 0)),
       kCorrupt,
       {"tensor t offset", "132 bytes", "bytes are missing"}},
      {"zip", [](auto& i) { i.magic = "PK\x03\x04"; }, kUnsupported, {"magic", "pickles"}},
      {"row not of whole Q8_0 blocks",
       with_tensor(gguf_tensor("t", {16, 2}, kQ8_0, 0)),
       kCorrupt,
       {"tensor t row", "'16'", "32"}},
      {"row not of whole Q4_K blocks",
       with_tensor(gguf_tensor("t", {128, 2}, kQ4_K, 0)),
       kCorrupt,
       {"tensor t row", "'128'", "256"}},
      {"offset outside the file",
       with_tensor(gguf_tensor("t", {8}, kF32, 1 << 20)),
       kCorrupt,
       {"tensor t offset", "outside"}},
      {"huge offset",
       with_tensor(gguf_tensor("t", {8}, kF32, ~uint64_t{31})),
       kCorrupt,
       {"tensor t offset", "outside"}},
      {"offset not aligned",
       with_tensor(gguf_tensor("t", {8}, kF32, 4)),
       kCorrupt,
       {"tensor t offset", "alignment"}},
      {"last bytes outside the file",
       [](auto& i) { i.data.resize(63); },
       kCorrupt,
       {"tensor second offset", "outside"}},
      {"no data at all", [](auto& i) { i.data.clear(); }, kCorrupt, {"tensor first offset"}},
      {"overlapping tensors",
       [](auto& i) { i.tensors[1] = gguf_tensor("second", {8}, kF32, 0); },
       kCorrupt,
       {"offset", "inside tensor"}},
      {"control characters in a name",
       with_tensor(gguf_tensor("a\nb", {8}, kF32, 4)),
       kCorrupt,
       {"tensor a\\x0ab"}},
  };
}

TEST(GgufDamage, TableOfDamages) {
  const TemporaryFolder folder;
  const std::vector<Damage> table = damages();
  EXPECT_GE(table.size(), 25u);
  for (const Damage& damage : table) {
    SCOPED_TRACE(damage.name);
    GgufImage image = valid_image();
    damage.damage(image);
    const auto path = folder.write("model.gguf", image.bytes());
    std::vector<std::string> parts = damage.parts;
    parts.push_back(path.string());
    expect_error([&] { open_gguf(path); }, damage.code, parts);
  }
}

// Where the file ends, and the field that must be named.
TEST(GgufDamage, TruncatedAtEveryStructure) {
  const GgufImage image = valid_image();
  const std::string bytes = image.bytes();
  const size_t keys = 24;
  const size_t second_key = keys + image.keys[0].size();
  const size_t third_key = second_key + image.keys[1].size();
  const size_t tensors = third_key + image.keys[2].size();
  const size_t second_tensor = tensors + image.tensors[0].size();
  const std::vector<std::pair<size_t, std::string>> cuts{
      {0, "magic"},
      {3, "magic"},
      {4, "version"},
      {7, "version"},
      {8, "tensor count"},
      {15, "tensor count"},
      {16, "metadata count"},
      {24, "metadata count"},
      {second_key - 1, "tensor count"},
      {third_key + 9, "metadata key 2"},
      {second_tensor, "offset"},
      {image.header().size(), "tensor first offset"},
      {bytes.size() - 1, "tensor second offset"},
  };
  const TemporaryFolder folder;
  for (const auto& [cut, field] : cuts) {
    SCOPED_TRACE(cut);
    const auto path = folder.write("model.gguf", std::string_view(bytes).substr(0, cut));
    expect_error([&] { open_gguf(path); }, ErrorCode::kCorrupt, {path.string(), field});
  }
}

TEST(GgufDamage, TruncationSweep) {
  const std::string bytes = valid_image().bytes();
  const TemporaryFolder folder;
  for (size_t cut = 0; cut < bytes.size(); ++cut) {
    const auto path = folder.write("model.gguf", std::string_view(bytes).substr(0, cut));
    EXPECT_TRUE(test::throws_error(ErrorCode::kCorrupt, path.string(), [&] { open_gguf(path); }))
        << cut;
  }
  EXPECT_NO_THROW(open_gguf(folder.write("model.gguf", bytes)));
}

// Any one byte changed: an error or a file that can be read in full, never a crash.
TEST(GgufDamage, EveryByteChanged) {
  const std::string bytes = valid_image().bytes();
  const TemporaryFolder folder;
  for (size_t at = 0; at < bytes.size(); ++at) {
    for (const unsigned change : {0x01u, 0x80u, 0xffu}) {
      std::string changed = bytes;
      changed[at] = static_cast<char>(static_cast<unsigned char>(changed[at]) ^ change);
      try {
        const GgufFile file = open_gguf(folder.write("model.gguf", changed));
        for (const StoredTensor& tensor : file.checkpoint.tensors()) {
          std::vector<float> out(static_cast<size_t>(tensor.rows() * tensor.cols()));
          file.checkpoint.read_rows(tensor, 0, tensor.rows(), out);
        }
      } catch (const Error& error) {
        EXPECT_NE(static_cast<int>(error.code()), static_cast<int>(ErrorCode::kInternal))
            << at << ": " << error.what();
      }
    }
  }
}

TEST(GgufDamage, NoSuchFileAndNotAFile) {
  const TemporaryFolder folder;
  expect_error([&] { open_gguf(folder.path() / "none.gguf"); }, ErrorCode::kNotFound,
               {"none.gguf"});
  expect_error([&] { open_gguf(folder.path()); }, ErrorCode::kInvalidArgument,
               {folder.path().string()});
}

}  // namespace
}  // namespace dak
