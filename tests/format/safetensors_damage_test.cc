// What a safetensors folder can have wrong: each is a typed error that names file and field.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "byte_images.h"
#include "format/safetensors.h"
#include "support/throws_error.h"

namespace dak {
namespace {

constexpr std::string_view kFile = "model.safetensors";
constexpr std::string_view kIndex = "model.safetensors.index.json";

std::string entry(std::string_view dtype, std::string_view shape, std::string_view offsets) {
  return fmt::format(R"({{"dtype":"{}","shape":{},"data_offsets":{}}})", dtype, shape, offsets);
}

// Two tensors that take all of 32 bytes.
SafetensorsImage valid_image() {
  return {.json = R"({"a":)" + entry("F32", "[2,2]", "[0,16]") + R"(,"b":)" +
                  entry("BF16", "[8]", "[16,32]") + "}",
          .data = std::string(32, '\0'),
          .length = {}};
}

struct Damage {
  std::string name;
  std::string json;
  ErrorCode code;
  std::vector<std::string> parts;
};

// A header with the one tensor "t", whose data are the 32 bytes.
std::string one(std::string_view value) { return fmt::format(R"({{"t":{}}})", value); }

std::vector<Damage> damages() {
  using enum ErrorCode;
  return {
      {"empty header", "", kCorrupt, {"header"}},
      {"not JSON", "{\"a\":", kCorrupt, {"byte"}},
      {"binary header", std::string("\xff\xfe\0\1", 4), kCorrupt, {"header"}},
      {"invalid UTF-8", "{\"a\xff\":1}", kCorrupt, {"byte"}},
      {"array at the top", "[1,2]", kCorrupt, {"header", "object"}},
      {"text after the object", "{} x", kCorrupt, {"byte"}},
      {"deep nesting", "{\"a\":" + std::string(100'000, '['), kCorrupt, {"nested"}},
      {"number too large",
       one(R"({"dtype":"F32","shape":[1e999],"data_offsets":[0,4]})"),
       kCorrupt,
       {"number"}},
      {"entry not an object", one("[1]"), kCorrupt, {"tensor t", "object"}},
      {"empty name",
       R"({"":)" + entry("F32", "[8]", "[0,32]") + "}",
       kCorrupt,
       {"tensor", "empty"}},
      {"duplicate name",
       R"({"t":)" + entry("F32", "[8]", "[0,32]") + R"(,"t":)" + entry("F32", "[8]", "[0,32]") +
           "}",
       kCorrupt,
       {"t: key appears twice"}},
      {"duplicate field",
       one(R"({"dtype":"F32","dtype":"F16","shape":[8],"data_offsets":[0,32]})"),
       kCorrupt,
       {"dtype", "twice"}},
      {"no dtype", one(R"({"shape":[8],"data_offsets":[0,32]})"), kCorrupt, {"tensor t dtype"}},
      {"dtype not a string",
       one(R"({"dtype":4,"shape":[8],"data_offsets":[0,32]})"),
       kCorrupt,
       {"tensor t dtype"}},
      {"F64 of the wrong size",
       one(entry("F64", "[3]", "[0,32]")),
       kCorrupt,
       {"tensor t data_offsets", "24"}},
      {"F4 that is not whole bytes",
       one(entry("F4", "[63]", "[0,32]")),
       kCorrupt,
       {"tensor t shape", "whole bytes"}},
      {"no shape", one(R"({"dtype":"F32","data_offsets":[0,32]})"), kCorrupt, {"tensor t shape"}},
      {"shape not an array", one(entry("F32", "8", "[0,32]")), kCorrupt, {"tensor t shape"}},
      {"negative dimension",
       one(entry("F32", "[-8]", "[0,32]")),
       kCorrupt,
       {"tensor t shape", "'-8'"}},
      {"fractional dimension", one(entry("F32", "[8.0]", "[0,32]")), kCorrupt, {"tensor t shape"}},
      {"text dimension",
       one(entry("F32", "[\"8\"]", "[0,32]")),
       kCorrupt,
       {"tensor t shape", "string"}},
      {"empty tensor with bytes",
       one(entry("F32", "[8,0]", "[0,32]")),
       kCorrupt,
       {"tensor t data_offsets", "make 0"}},
      {"overflowing shape",
       one(entry("F32", "[4294967296,4294967296]", "[0,32]")),
       kCorrupt,
       {"tensor t shape"}},
      {"dimension past int64",
       one(entry("F32", "[18446744073709551615]", "[0,32]")),
       kCorrupt,
       {"tensor t shape"}},
      {"rank 9",
       one(entry("F32", "[1,1,1,1,1,1,1,1,8]", "[0,32]")),
       kCorrupt,
       {"tensor t shape", "rank 9"}},
      {"no offsets", one(R"({"dtype":"F32","shape":[8]})"), kCorrupt, {"tensor t data_offsets"}},
      {"one offset", one(entry("F32", "[8]", "[0]")), kCorrupt, {"tensor t data_offsets", "pair"}},
      {"negative offset", one(entry("F32", "[8]", "[-4,28]")), kCorrupt, {"tensor t data_offsets"}},
      {"offsets reversed",
       one(entry("F32", "[8]", "[32,0]")),
       kCorrupt,
       {"tensor t data_offsets", "before it begins"}},
      {"offset outside the file",
       one(entry("F32", "[9]", "[0,36]")),
       kCorrupt,
       {"tensor t data_offsets", "outside", "bytes are missing"}},
      {"span less than the shape",
       one(entry("F32", "[8]", "[0,28]")),
       kCorrupt,
       {"tensor t data_offsets", "28"}},
      {"span more than the shape",
       one(entry("F16", "[8]", "[0,32]")),
       kCorrupt,
       {"tensor t data_offsets", "16"}},
      {"overlap",
       R"({"a":)" + entry("F32", "[4]", "[0,16]") + R"(,"t":)" + entry("F32", "[5]", "[12,32]") +
           "}",
       kCorrupt,
       {"tensor t data_offsets", "overlaps"}},
      {"hole",
       R"({"a":)" + entry("F32", "[3]", "[0,12]") + R"(,"t":)" + entry("F32", "[4]", "[16,32]") +
           "}",
       kCorrupt,
       {"tensor t data_offsets", "hole"}},
      {"bytes after the last tensor", one(entry("F32", "[7]", "[0,28]")), kCorrupt, {"data", "28"}},
      {"control characters in a name", R"({"t\nu":1})", kCorrupt, {"tensor t\\x0au"}},
  };
}

TEST(SafetensorsDamage, TableOfDamages) {
  const TemporaryFolder folder;
  const std::vector<Damage> table = damages();
  EXPECT_GE(table.size(), 25u);
  for (const Damage& damage : table) {
    SCOPED_TRACE(damage.name);
    SafetensorsImage image = valid_image();
    image.json = damage.json;
    const auto path = folder.write(kFile, image.bytes());
    std::vector<std::string> parts = damage.parts;
    parts.push_back(path.string());
    expect_error([&] { open_safetensors(folder.path()); }, damage.code, parts);
  }
}

TEST(SafetensorsDamage, HeaderLength) {
  const TemporaryFolder folder;
  for (const uint64_t length : {uint64_t{1} << 62, ~uint64_t{0}, uint64_t{500}, uint64_t{0}}) {
    SCOPED_TRACE(length);
    SafetensorsImage image = valid_image();
    image.length = length;
    const auto path = folder.write(kFile, image.bytes());
    expect_error([&] { open_safetensors(folder.path()); }, ErrorCode::kCorrupt,
                 {path.string(), "header"});
  }
}

TEST(SafetensorsDamage, TruncationSweep) {
  const std::string bytes = valid_image().bytes();
  const TemporaryFolder folder;
  for (size_t cut = 0; cut < bytes.size(); ++cut) {
    const auto path = folder.write(kFile, std::string_view(bytes).substr(0, cut));
    EXPECT_TRUE(test::throws_error(ErrorCode::kCorrupt, path.string(), [&] {
      open_safetensors(folder.path());
    })) << cut;
  }
  folder.write(kFile, bytes);
  EXPECT_NO_THROW(open_safetensors(folder.path()));
  folder.write(kFile, bytes + "x");
  EXPECT_TRUE(
      test::throws_error(ErrorCode::kCorrupt, kFile, [&] { open_safetensors(folder.path()); }));
}

TEST(SafetensorsDamage, EveryByteChanged) {
  const std::string bytes = valid_image().bytes();
  const TemporaryFolder folder;
  for (size_t at = 0; at < bytes.size(); ++at) {
    for (const unsigned change : {0x01u, 0x10u, 0x80u}) {
      std::string changed = bytes;
      changed[at] = static_cast<char>(static_cast<unsigned char>(changed[at]) ^ change);
      folder.write(kFile, changed);
      try {
        const Checkpoint checkpoint = open_safetensors(folder.path());
        for (const StoredTensor& tensor : checkpoint.tensors()) {
          std::vector<float> out(static_cast<size_t>(tensor.rows() * tensor.cols()));
          checkpoint.read_rows(tensor, 0, tensor.rows(), out);
        }
      } catch (const Error& error) {
        EXPECT_NE(static_cast<int>(error.code()), static_cast<int>(ErrorCode::kInternal))
            << at << ": " << error.what();
      }
    }
  }
}

std::string index_of(std::string_view tensor, std::string_view shard) {
  return fmt::format(R"({{"weight_map":{{"{}":"{}"}}}})", tensor, shard);
}

TEST(SafetensorsDamage, Index) {
  using enum ErrorCode;
  const TemporaryFolder folder;
  folder.write("shard.safetensors", valid_image().bytes());
  folder.write("other.safetensors", valid_image().bytes());
  const std::vector<Damage> table{
      {"not JSON", "{", kCorrupt, {"byte"}},
      {"not an object", "[]", kCorrupt, {"weight_map"}},
      {"no weight_map", R"({"metadata":{}})", kCorrupt, {"weight_map"}},
      {"weight_map not an object", R"({"weight_map":3})", kCorrupt, {"weight_map"}},
      {"empty weight_map", R"({"weight_map":{}})", kCorrupt, {"weight_map"}},
      {"shard not a string", R"({"weight_map":{"a":5}})", kCorrupt, {"weight_map a", "number"}},
      {"duplicate tensor",
       R"({"weight_map":{"a":"shard.safetensors","a":"shard.safetensors"}})",
       kCorrupt,
       {"a: key appears twice"}},
      {"absolute shard", index_of("a", "/etc/passwd"), kCorrupt, {"weight_map a", "/etc/passwd"}},
      {"shard above the folder",
       index_of("a", "../shard.safetensors"),
       kCorrupt,
       {"weight_map a", "../shard.safetensors"}},
      {"shard above, hidden",
       index_of("a", "x/../../shard.safetensors"),
       kCorrupt,
       {"weight_map a"}},
      {"empty shard", index_of("a", ""), kCorrupt, {"weight_map a"}},
      {"NUL in the shard", index_of("a", "shard.safetensors\\u0000x"), kCorrupt, {"weight_map a"}},
      {"missing shard",
       index_of("a", "lost.safetensors"),
       kNotFound,
       {"weight_map a", "lost.safetensors", "missing"}},
      {"tensor not in its shard",
       index_of("c", "shard.safetensors"),
       kCorrupt,
       {"shard.safetensors", "tensor 'c'"}},
      {"tensor in two shards",
       R"({"weight_map":{"a":"shard.safetensors","b":"other.safetensors"}})",
       kCorrupt,
       {"tensor", "twice", "shard.safetensors", "other.safetensors"}},
  };
  for (const Damage& damage : table) {
    SCOPED_TRACE(damage.name);
    folder.write(kIndex, damage.json);
    std::vector<std::string> parts = damage.parts;
    parts.push_back(folder.path().string());
    expect_error([&] { open_safetensors(folder.path()); }, damage.code, parts);
  }
}

TEST(SafetensorsDamage, NoModelInTheFolder) {
  const TemporaryFolder folder;
  expect_error([&] { open_safetensors(folder.path()); }, ErrorCode::kNotFound,
               {folder.path().string(), "model.safetensors"});
  folder.write("pytorch_model.bin", "x");
  expect_error([&] { open_safetensors(folder.path()); }, ErrorCode::kNotFound, {"convert"});
  expect_error([&] { open_safetensors(folder.path() / "none"); }, ErrorCode::kNotFound, {"none"});
}

}  // namespace
}  // namespace dak
