#include "format/gguf_header.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <utility>

#include "base/error.h"
#include "format/ggml_types.h"
#include "format/model_json.h"

namespace dak {
namespace {

constexpr std::string_view kMissing = "bytes are missing: fetch the file again";
constexpr std::string_view kMalformed = "its writer broke the format: convert the model anew";

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

// What other files begin with, and what to do with them.
struct OtherMagic {
  std::string_view bytes;
  std::string_view problem;
  std::string_view fix;
};

constexpr std::string_view kNoPickles =
    "dak reads no pickles: give the folder with the model's safetensors";

constexpr OtherMagic kOtherMagics[] = {
    {"FUGG", "is of a big-endian GGUF file",
     "convert it to little-endian with gguf_convert_endian.py of llama.cpp"},
    {"lmgg", "is of a GGML file from before GGUF", "fetch the model as GGUF v2 or v3"},
    {"fmgg", "is of a GGML file from before GGUF", "fetch the model as GGUF v2 or v3"},
    {"tjgg", "is of a GGML file from before GGUF", "fetch the model as GGUF v2 or v3"},
    {"algg", "is of a GGML file from before GGUF", "fetch the model as GGUF v2 or v3"},
    {"PK\x03\x04", "is of a zip file, as PyTorch writes", kNoPickles},
    {"\x80\x02", "is of a pickle", kNoPickles},
    {"\x80\x04", "is of a pickle", kNoPickles},
};

void check_magic(ByteReader& reader) {
  const std::string head = reader.peek(64);
  if (!head.empty()) refuse_stand_in(head, reader.name());
  std::string magic(4, '\0');
  reader.read_bytes(std::as_writable_bytes(std::span(magic)), "magic");
  if (magic == "GGUF") return;
  for (const OtherMagic& other : kOtherMagics) {
    if (!magic.starts_with(other.bytes)) continue;
    throw_unsupported(reader.name(), "magic", magic, other.problem, other.fix);
  }
  if (head.size() > 8 && head[8] == '{') {
    throw_unsupported(reader.name(), "magic", magic, "is of a safetensors file, not of GGUF",
                      "give the folder that holds it and its config.json");
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
    throw_corrupt(reader.name(), field, std::to_string(type), "is not a GGUF value type",
                  kMalformed);
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
                      kMalformed);
  }
  return static_cast<int64_t>(value);
}

bool read_bool(ByteReader& reader, const std::string& field) {
  const auto value = reader.read<uint8_t>(field);
  if (value > 1) {
    throw_corrupt(reader.name(), field, std::to_string(value), "is not a boolean (0 or 1)",
                  kMalformed);
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
                  kMalformed);
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
      throw_corrupt(reader.name(), fmt::format("metadata key {}", i), {}, "is empty", kMalformed);
    }
    if (values.contains(key)) {
      throw_corrupt(reader.name(), field, {}, "metadata key appears twice", kMalformed);
    }
    GgufValue value = read_value(reader, field);
    values.emplace(std::move(key), std::move(value));
    check_header_size(reader);
  }
  return values;
}

int64_t alignment_of(const GgufMetadata& metadata) {
  const int64_t alignment = metadata.integer("general.alignment").value_or(32);
  if (alignment < 8 || alignment > kMaxAlignment ||
      !std::has_single_bit(static_cast<uint64_t>(alignment))) {
    throw_corrupt(metadata.file(), "general.alignment", std::to_string(alignment),
                  fmt::format("is not a power of two from 8 to {}", kMaxAlignment), kMalformed);
  }
  return alignment;
}

// Dimensions, the outermost first; a dimension of zero makes the tensor empty.
std::vector<int64_t> read_shape(ByteReader& reader, const std::string& field) {
  const auto rank = reader.read<uint32_t>(field + " rank");
  if (rank == 0 || rank > kMaxRank) {
    throw_corrupt(reader.name(), field + " rank", std::to_string(rank),
                  fmt::format("is not from 1 to {}", kMaxRank), kMalformed);
  }
  // A value takes at least a bit, and more than 2^58 elements of any type are no file's.
  constexpr uint64_t kMaxElements = uint64_t{1} << 58;
  uint64_t elements = 1;
  std::vector<int64_t> shape;
  for (uint32_t i = 0; i < rank; ++i) {
    const auto dim = reader.read<uint64_t>(field + " dimension");
    if (dim > kMaxElements / std::max<uint64_t>(elements, 1)) {
      throw_corrupt(reader.name(), field + " dimension", std::to_string(dim),
                    "makes more elements than any file holds", kMalformed);
    }
    elements *= std::max<uint64_t>(dim, 1);  // of an empty tensor too: rows are multiplied alone
    shape.push_back(static_cast<int64_t>(dim));
  }
  std::reverse(shape.begin(), shape.end());  // stored innermost first
  return shape;
}

// Sets type and size; a type without a known size keeps 0 bytes.
void set_type(const ByteReader& reader, const std::string& field, uint32_t number,
              StoredTensor& tensor) {
  if (const std::optional<DType> dtype = dtype_of_ggml_type(number)) {
    tensor.dtype = *dtype;
  } else {
    const std::string_view name = ggml_type_name(number);
    tensor.unreadable_type = name.empty() ? fmt::format("number {}", number) : std::string(name);
  }
  const std::optional<GgmlBlock> block = block_of_ggml_type(number);
  if (!block) return;
  if (tensor.shape.back() % block->elements != 0) {
    throw_corrupt(reader.name(), field + " row", std::to_string(tensor.shape.back()),
                  fmt::format("is not a multiple of the {} elements of a {} block", block->elements,
                              tensor.type_name()),
                  kMalformed);
  }
  int64_t blocks = 1;
  for (const int64_t dim : tensor.shape) blocks *= dim;
  blocks /= block->elements;
  if (blocks > std::numeric_limits<int64_t>::max() / block->bytes) {
    throw_corrupt(reader.name(), field + " dimension", {}, "makes more bytes than any file holds",
                  kMalformed);
  }
  tensor.size_bytes = blocks * block->bytes;
}

// Name, dimensions, type and offset; the offset still counts from the beginning of the data.
StoredTensor read_tensor_info(ByteReader& reader, int64_t index) {
  StoredTensor tensor;
  tensor.name = reader.read_string(kMaxNameBytes, fmt::format("tensor name {}", index));
  const std::string field = fmt::format("tensor {}", printable(tensor.name));
  if (tensor.name.empty()) {
    throw_corrupt(reader.name(), fmt::format("tensor name {}", index), {}, "is empty", kMalformed);
  }
  tensor.shape = read_shape(reader, field);
  const auto type = reader.read<uint32_t>(field + " type");
  const auto offset = reader.read<uint64_t>(field + " offset");
  set_type(reader, field, type, tensor);
  if (offset > static_cast<uint64_t>(reader.size()) ||
      tensor.size_bytes > reader.size() - static_cast<int64_t>(offset)) {
    throw_corrupt(
        reader.name(), field + " offset", std::to_string(offset),
        fmt::format("its {} bytes end outside the file of {}", tensor.size_bytes, reader.size()),
        kMissing);
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
                    fmt::format("is not a multiple of the alignment {}", alignment), kMalformed);
    }
    if (tensor.offset > reader.size() - tensor.size_bytes - data_begin) {
      throw_corrupt(
          reader.name(), field, std::to_string(tensor.offset),
          fmt::format("its {} bytes end outside the file of {}", tensor.size_bytes, reader.size()),
          kMissing);
    }
    tensor.offset += data_begin;
  }
}

void check_overlap(const ByteReader& reader, const std::vector<StoredTensor>& tensors) {
  std::vector<const StoredTensor*> by_offset;
  by_offset.reserve(tensors.size());
  for (const StoredTensor& tensor : tensors) {
    if (tensor.size_bytes > 0) by_offset.push_back(&tensor);  // empty or of an unknown size
  }
  std::sort(by_offset.begin(), by_offset.end(),
            [](const StoredTensor* a, const StoredTensor* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < by_offset.size(); ++i) {
    const StoredTensor& before = *by_offset[i - 1];
    const StoredTensor& tensor = *by_offset[i];
    if (tensor.offset < before.offset + before.size_bytes) {
      throw_corrupt(reader.name(), fmt::format("tensor {} offset", printable(tensor.name)),
                    std::to_string(tensor.offset),
                    fmt::format("lies inside tensor {}", printable(before.name)), kMalformed);
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
                  kMissing);
  }
  GgufHeader header{.version = version,
                    .metadata = GgufMetadata(reader.name(), read_metadata(reader, key_count)),
                    .tensors = {}};
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
