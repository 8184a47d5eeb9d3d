#include "format/gguf_header.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <utility>

#include "base/error.h"
#include "format/ggml_types.h"

namespace dak {
namespace {

constexpr std::string_view kDamaged = "the file is truncated or damaged: fetch it again";

// Far above any real model's, so that a hostile file of many GiB cannot fill the host's memory.
constexpr int64_t kMaxEntries = int64_t{1} << 20;          // metadata keys, tensors
constexpr int64_t kMaxArrayElements = int64_t{1} << 26;    // vocabularies have 2^18
constexpr int64_t kMaxStringBytes = int64_t{1} << 26;      // chat templates have 2^14
constexpr int64_t kMaxNameBytes = (int64_t{1} << 16) - 1;  // GGUF's own limit for keys
constexpr int64_t kMaxHeaderBytes = int64_t{1} << 30;

// Least bytes of one entry: length, type, value; length, rank, one dimension, type, offset.
constexpr int64_t kMinKeyValueBytes = 8 + 4 + 1;
constexpr int64_t kMinTensorBytes = 8 + 4 + 8 + 4 + 8;

constexpr uint32_t kMaxRank = 4;
constexpr int64_t kMaxAlignment = int64_t{1} << 20;

enum ValueType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
  kValueTypes,
};

// Bytes of a value of the type; for a string, of the shortest.
constexpr std::array<int64_t, kValueTypes> kValueBytes{1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};

void check_magic(ByteReader& reader) {
  std::string magic(4, '\0');
  reader.read_bytes(std::as_writable_bytes(std::span(magic)), "magic");
  if (magic == "GGUF") return;
  if (magic == "FUGG") {
    throw_unsupported(reader.name(), "magic", magic, "is of a big-endian GGUF file",
                      "convert it to little-endian with gguf_convert_endian.py of llama.cpp");
  }
  if (magic == "lmgg" || magic == "fmgg" || magic == "tjgg" || magic == "algg") {
    throw_unsupported(reader.name(), "magic", magic, "is of a GGML file from before GGUF",
                      "fetch the model as GGUF v2 or v3");
  }
  throw_corrupt(reader.name(), "magic", magic, "is not that of a GGUF file ('GGUF')",
                "give a .gguf file or a folder with safetensors");
}

int read_version(ByteReader& reader) {
  const auto version = reader.read<uint32_t>("version");
  if (version == 2 || version == 3) return static_cast<int>(version);
  if (version != 0 && (version & 0xffff) == 0) {
    throw_unsupported(reader.name(), "version", std::to_string(version),
                      "is of a big-endian GGUF file",
                      "convert it to little-endian with gguf_convert_endian.py of llama.cpp");
  }
  throw_unsupported(reader.name(), "version", std::to_string(version),
                    "is not a GGUF version that dak reads (2 and 3)",
                    "convert the model again with a current convert_hf_to_gguf.py");
}

uint32_t read_value_type(ByteReader& reader, const std::string& field) {
  const auto type = reader.read<uint32_t>(field);
  if (type >= kValueTypes) {
    throw_corrupt(reader.name(), field, std::to_string(type), "is not a GGUF value type", kDamaged);
  }
  return type;
}

int64_t read_integer(ByteReader& reader, uint32_t type, const std::string& field) {
  switch (type) {
    case kU8:
      return reader.read<uint8_t>(field);
    case kI8:
      return reader.read<int8_t>(field);
    case kU16:
      return reader.read<uint16_t>(field);
    case kI16:
      return reader.read<int16_t>(field);
    case kU32:
      return reader.read<uint32_t>(field);
    case kI32:
      return reader.read<int32_t>(field);
    case kI64:
      return reader.read<int64_t>(field);
    default:
      break;
  }
  const auto value = reader.read<uint64_t>(field);
  if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    throw_unsupported(reader.name(), field, std::to_string(value), "is larger than 2^63 - 1",
                      kDamaged);
  }
  return static_cast<int64_t>(value);
}

bool read_bool(ByteReader& reader, const std::string& field) {
  const auto value = reader.read<uint8_t>(field);
  if (value > 1) {
    throw_corrupt(reader.name(), field, std::to_string(value), "is not a boolean (0 or 1)",
                  kDamaged);
  }
  return value != 0;
}

double read_number(ByteReader& reader, uint32_t type, const std::string& field) {
  return type == kF32 ? static_cast<double>(reader.read<float>(field)) : reader.read<double>(field);
}

void check_header_size(const ByteReader& reader) {
  if (reader.position() > kMaxHeaderBytes) {
    throw_corrupt(reader.name(), "header", {},
                  fmt::format("is larger than the {} bytes that dak accepts", kMaxHeaderBytes),
                  kDamaged);
  }
}

std::string read_text(ByteReader& reader, const std::string& field) {
  check_header_size(reader);
  return reader.read_string(kMaxStringBytes, field);
}

template <typename T, typename Read>
std::vector<T> read_elements(int64_t count, Read read_one) {
  std::vector<T> values;
  values.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) values.push_back(read_one());
  return values;
}

GgufValue read_array(ByteReader& reader, const std::string& field) {
  const uint32_t type = read_value_type(reader, field);
  if (type == kArray) {
    throw_unsupported(reader.name(), field, "array of arrays", "dak does not read nested arrays",
                      "remove the key with gguf_new_metadata.py of llama.cpp");
  }
  const int64_t count = reader.read_count(kValueBytes[type], kMaxArrayElements, field);
  switch (type) {
    case kBool:
      return read_elements<bool>(count, [&] { return read_bool(reader, field); });
    case kString:
      return read_elements<std::string>(count, [&] { return read_text(reader, field); });
    case kF32:
    case kF64:
      return read_elements<double>(count, [&] { return read_number(reader, type, field); });
    default:
      return read_elements<int64_t>(count, [&] { return read_integer(reader, type, field); });
  }
}

GgufValue read_value(ByteReader& reader, const std::string& field) {
  const uint32_t type = read_value_type(reader, field);
  switch (type) {
    case kBool:
      return read_bool(reader, field);
    case kString:
      return read_text(reader, field);
    case kArray:
      return read_array(reader, field);
    case kF32:
    case kF64:
      return read_number(reader, type, field);
    default:
      return read_integer(reader, type, field);
  }
}

std::map<std::string, GgufValue, std::less<>> read_metadata(ByteReader& reader, int64_t count) {
  std::map<std::string, GgufValue, std::less<>> values;
  for (int64_t i = 0; i < count; ++i) {
    std::string key = reader.read_string(kMaxNameBytes, fmt::format("metadata key {}", i));
    const std::string field = printable(key);
    if (key.empty()) {
      throw_corrupt(reader.name(), fmt::format("metadata key {}", i), {}, "is empty", kDamaged);
    }
    if (values.contains(key)) {
      throw_corrupt(reader.name(), field, {}, "metadata key appears twice", kDamaged);
    }
    GgufValue value = read_value(reader, field);
    values.emplace(std::move(key), std::move(value));
    check_header_size(reader);
  }
  return values;
}

void refuse_split(const GgufMetadata& metadata) {
  const int64_t parts = metadata.integer("split.count").value_or(1);
  if (parts <= 1) return;
  throw_unsupported(metadata.file(), "split.count", std::to_string(parts),
                    "the model is split over several files",
                    "merge them with `llama-gguf-split --merge` and give the merged file");
}

int64_t alignment_of(const GgufMetadata& metadata) {
  const int64_t alignment = metadata.integer("general.alignment").value_or(32);
  if (alignment < 8 || alignment > kMaxAlignment ||
      !std::has_single_bit(static_cast<uint64_t>(alignment))) {
    throw_corrupt(metadata.file(), "general.alignment", std::to_string(alignment),
                  fmt::format("is not a power of two from 8 to {}", kMaxAlignment), kDamaged);
  }
  return alignment;
}

[[noreturn]] void throw_type(const ByteReader& reader, const std::string& field, uint32_t type) {
  const std::string_view name = ggml_type_name(type);
  if (name.empty()) {
    throw_corrupt(reader.name(), field, std::to_string(type), "is not a ggml type", kDamaged);
  }
  throw_unsupported(reader.name(), field, name, "is a ggml type that dak does not read",
                    fmt::format("use a model quantised with {}", kReadableGgmlTypes));
}

// Name, dimensions, type and offset; the offset still counts from the beginning of the data.
StoredTensor read_tensor_info(ByteReader& reader, int64_t index) {
  StoredTensor tensor;
  tensor.name = reader.read_string(kMaxNameBytes, fmt::format("tensor name {}", index));
  const std::string field = fmt::format("tensor {}", printable(tensor.name));
  if (tensor.name.empty()) {
    throw_corrupt(reader.name(), fmt::format("tensor name {}", index), {}, "is empty", kDamaged);
  }
  const auto rank = reader.read<uint32_t>(field + " rank");
  if (rank == 0 || rank > kMaxRank) {
    throw_corrupt(reader.name(), field + " rank", std::to_string(rank),
                  fmt::format("is not from 1 to {}", kMaxRank), kDamaged);
  }
  // A value takes at least 4.5 bits, so more than 2^60 elements are no file's.
  constexpr uint64_t kMaxElements = uint64_t{1} << 60;
  uint64_t elements = 1;
  for (uint32_t i = 0; i < rank; ++i) {
    const auto dim = reader.read<uint64_t>(field + " dimension");
    if (dim == 0 || dim > kMaxElements / elements) {
      throw_corrupt(reader.name(), field + " dimension", std::to_string(dim),
                    dim == 0 ? "is zero" : "makes more elements than any file holds", kDamaged);
    }
    elements *= dim;
    tensor.shape.push_back(static_cast<int64_t>(dim));
  }
  std::reverse(tensor.shape.begin(), tensor.shape.end());  // stored innermost first
  const auto type = reader.read<uint32_t>(field + " type");
  const auto offset = reader.read<uint64_t>(field + " offset");
  const std::optional<DType> dtype = dtype_of_ggml_type(type);
  if (!dtype) throw_type(reader, field + " type", type);
  tensor.dtype = *dtype;
  if (tensor.shape.back() % traits(*dtype).block_elements != 0) {
    throw_corrupt(reader.name(), field + " row", std::to_string(tensor.shape.back()),
                  fmt::format("is not a multiple of the {} elements of a {} block",
                              traits(*dtype).block_elements, name(*dtype)),
                  kDamaged);
  }
  tensor.size_bytes = bytes_of(*dtype, static_cast<int64_t>(elements));
  if (offset > static_cast<uint64_t>(reader.size()) ||
      tensor.size_bytes > reader.size() - static_cast<int64_t>(offset)) {
    throw_corrupt(
        reader.name(), field + " offset", std::to_string(offset),
        fmt::format("its {} bytes end outside the file of {}", tensor.size_bytes, reader.size()),
        kDamaged);
  }
  tensor.offset = static_cast<int64_t>(offset);
  return tensor;
}

// Makes offsets count from the beginning of the file, and checks them against its end.
void place_tensors(const ByteReader& reader, int64_t alignment,
                   std::vector<StoredTensor>& tensors) {
  const int64_t data_begin = (reader.position() + alignment - 1) / alignment * alignment;
  for (StoredTensor& tensor : tensors) {
    const std::string field = fmt::format("tensor {} offset", printable(tensor.name));
    if (tensor.offset % alignment != 0) {
      throw_corrupt(reader.name(), field, std::to_string(tensor.offset),
                    fmt::format("is not a multiple of the alignment {}", alignment), kDamaged);
    }
    if (tensor.offset > reader.size() - tensor.size_bytes - data_begin) {
      throw_corrupt(
          reader.name(), field, std::to_string(tensor.offset),
          fmt::format("its {} bytes end outside the file of {}", tensor.size_bytes, reader.size()),
          kDamaged);
    }
    tensor.offset += data_begin;
  }
}

void check_overlap(const ByteReader& reader, const std::vector<StoredTensor>& tensors) {
  std::vector<const StoredTensor*> by_offset;
  by_offset.reserve(tensors.size());
  for (const StoredTensor& tensor : tensors) by_offset.push_back(&tensor);
  std::sort(by_offset.begin(), by_offset.end(),
            [](const StoredTensor* a, const StoredTensor* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < by_offset.size(); ++i) {
    const StoredTensor& before = *by_offset[i - 1];
    const StoredTensor& tensor = *by_offset[i];
    if (tensor.offset < before.offset + before.size_bytes) {
      throw_corrupt(reader.name(), fmt::format("tensor {} offset", printable(tensor.name)),
                    std::to_string(tensor.offset),
                    fmt::format("lies inside tensor {}", printable(before.name)), kDamaged);
    }
  }
}

}  // namespace

GgufHeader parse_gguf_header(ByteReader& reader) {
  check_magic(reader);
  const int version = read_version(reader);
  const auto tensor_count = reader.read<uint64_t>("tensor count");
  const int64_t key_count = reader.read_count(kMinKeyValueBytes, kMaxEntries, "metadata count");
  if (tensor_count > static_cast<uint64_t>(reader.remaining() / kMinTensorBytes) ||
      tensor_count > static_cast<uint64_t>(kMaxEntries)) {
    throw_corrupt(reader.name(), "tensor count", std::to_string(tensor_count),
                  fmt::format("does not fit in the {} bytes that follow it", reader.remaining()),
                  kDamaged);
  }
  GgufHeader header{.version = version,
                    .metadata = GgufMetadata(reader.name(), read_metadata(reader, key_count)),
                    .tensors = {}};
  refuse_split(header.metadata);
  const int64_t alignment = alignment_of(header.metadata);
  for (int64_t i = 0; i < static_cast<int64_t>(tensor_count); ++i) {
    header.tensors.push_back(read_tensor_info(reader, i));
    check_header_size(reader);
  }
  place_tensors(reader, alignment, header.tensors);
  check_overlap(reader, header.tensors);
  return header;
}

}  // namespace dak
