#include "format/safetensors_header.h"

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>
#include <unordered_set>
#include <utility>

#include "base/error.h"
#include "format/model_json.h"

namespace dak {
namespace {

constexpr std::string_view kMissing = "bytes are missing: fetch the file again";
constexpr std::string_view kMalformed = "its writer broke the format: save the model anew";
constexpr int64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's limit
constexpr size_t kHeadBytes = 64;                 // for refuse_stand_in
constexpr size_t kMaxRank = 8;
constexpr int64_t kMaxElements = std::numeric_limits<int64_t>::max() / 64;  // of the largest type

struct ElementType {
  std::string_view name;
  int bits;                    // of an element
  std::optional<DType> dtype;  // what dak reads it as; nullopt: it does not
};

// Types of the format. One that is not here (of a later version of the format) is not read either,
// and its size is not checked.
constexpr std::array<ElementType, 22> kTypes{{
    {"F32", 32, DType::kF32},     {"F16", 16, DType::kF16},
    {"BF16", 16, DType::kBF16},   {"BOOL", 8, std::nullopt},
    {"U8", 8, std::nullopt},      {"I8", 8, std::nullopt},
    {"U16", 16, std::nullopt},    {"I16", 16, std::nullopt},
    {"U32", 32, std::nullopt},    {"I32", 32, std::nullopt},
    {"U64", 64, std::nullopt},    {"I64", 64, std::nullopt},
    {"F64", 64, std::nullopt},    {"C64", 64, std::nullopt},
    {"F8_E4M3", 8, std::nullopt}, {"F8_E5M2", 8, std::nullopt},
    {"F8_E8M0", 8, std::nullopt}, {"F8_E4M3FNUZ", 8, std::nullopt},
    {"F4", 4, std::nullopt},      {"F6_E2M3", 6, std::nullopt},
    {"F6_E3M2", 6, std::nullopt}, {"F8_E5M2FNUZ", 8, std::nullopt},
}};

// Where an entry's errors point to.
struct Entry {
  std::string_view file;
  std::string field;  // "tensor NAME"
  const Json& value;

  [[noreturn]] void corrupt(std::string_view part, std::string_view shown,
                            std::string_view problem) const {
    throw_corrupt(file, fmt::format("{} {}", field, part), shown, problem, kMalformed);
  }
  const Json& array(const char* key) const {
    const auto found = value.find(key);
    if (found == value.end()) corrupt(key, {}, "is missing");
    if (!found->is_array()) corrupt(key, found->type_name(), "is not an array");
    return *found;
  }
  // Whole, not negative, within int64.
  int64_t whole(const Json& number, const char* key) const {
    if (!number.is_number_unsigned() ||
        number.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      corrupt(key, number.is_number() ? number.dump() : number.type_name(),
              "is not a whole number from 0 to 2^63 - 1");
    }
    return number.get<int64_t>();
  }
};

std::string_view type_name_of(const Entry& entry) {
  const auto found = entry.value.find("dtype");
  if (found == entry.value.end()) entry.corrupt("dtype", {}, "is missing");
  if (!found->is_string()) entry.corrupt("dtype", found->type_name(), "is not a string");
  return found->get_ref<const std::string&>();
}

std::vector<int64_t> shape_of(const Entry& entry) {
  const Json& dims = entry.array("shape");
  if (dims.size() > kMaxRank) {
    entry.corrupt("shape", fmt::format("of rank {}", dims.size()),
                  fmt::format("has more than {} dimensions", kMaxRank));
  }
  std::vector<int64_t> shape;
  int64_t elements = 1;
  for (const Json& value : dims) {
    const int64_t dim = entry.whole(value, "shape");
    // A dimension of zero makes the tensor empty, which the format allows.
    if (dim > 0 && elements > 0 && dim > kMaxElements / elements) {
      entry.corrupt("shape", value.dump(), "makes more bytes than any file holds");
    }
    elements *= dim;
    shape.push_back(dim);
  }
  return shape;
}

// What dtype and shape make; the format wants whole bytes.
int64_t bytes_of_shape(const Entry& entry, const ElementType& type,
                       const std::vector<int64_t>& shape) {
  int64_t bits = type.bits;
  for (const int64_t dim : shape) bits *= dim;
  if (bits % 8 != 0) {
    entry.corrupt("shape", fmt::format("of {}", type.name), "does not make whole bytes");
  }
  return bits / 8;
}

// Offsets count from the beginning of the data, which has `data_bytes`.
StoredTensor read_entry(const Entry& entry, int64_t data_bytes) {
  StoredTensor tensor;
  const std::string_view type_name = type_name_of(entry);
  const auto* type = std::find_if(kTypes.begin(), kTypes.end(),
                                  [&](const ElementType& t) { return t.name == type_name; });
  const bool known = type != kTypes.end();
  if (known && type->dtype) {
    tensor.dtype = *type->dtype;
  } else {
    tensor.unreadable_type = type_name.empty() ? "''" : printable(type_name);
  }
  tensor.shape = shape_of(entry);
  const Json& offsets = entry.array("data_offsets");
  if (offsets.size() != 2) entry.corrupt("data_offsets", offsets.dump(), "is not a pair");
  const int64_t begin = entry.whole(offsets[0], "data_offsets");
  const int64_t end = entry.whole(offsets[1], "data_offsets");
  const std::string shown = fmt::format("[{}, {}]", begin, end);
  if (begin > end) entry.corrupt("data_offsets", shown, "ends before it begins");
  if (end > data_bytes) {
    throw_corrupt(entry.file, entry.field + " data_offsets", shown,
                  fmt::format("ends outside the {} bytes of data", data_bytes), kMissing);
  }
  tensor.offset = begin;
  tensor.size_bytes = end - begin;
  if (!known) return tensor;
  const int64_t expected = bytes_of_shape(entry, *type, tensor.shape);
  if (end - begin != expected) {
    entry.corrupt(
        "data_offsets", shown,
        fmt::format("spans {} bytes where {} and shape make {}", end - begin, type_name, expected));
  }
  return tensor;
}

// The format allows neither overlap nor holes, so that no byte has two meanings or none.
void check_layout(std::string_view file, const std::vector<StoredTensor>& sorted,
                  int64_t data_bytes) {
  int64_t end = 0;
  for (const StoredTensor& tensor : sorted) {
    if (tensor.offset != end) {
      throw_corrupt(file, fmt::format("tensor {} data_offsets", printable(tensor.name)),
                    std::to_string(tensor.offset),
                    tensor.offset < end ? "overlaps the tensor before it"
                                        : fmt::format("leaves a hole after byte {}", end),
                    kMalformed);
    }
    end += tensor.size_bytes;
  }
  if (end != data_bytes) {
    throw_corrupt(file, "data", std::to_string(data_bytes),
                  fmt::format("bytes follow the header where its tensors take {}", end),
                  kMalformed);
  }
}

std::string read_json_text(ByteReader& reader) {
  if (const std::string head = reader.peek(kHeadBytes); !head.empty()) {
    refuse_stand_in(head, reader.name());
  }
  const int64_t length = reader.read_count(1, kMaxHeaderBytes, "header length");
  std::string text(static_cast<size_t>(length), '\0');
  reader.read_bytes(std::as_writable_bytes(std::span(text)), "header");
  if (!text.starts_with('{')) {
    throw_corrupt(reader.name(), "header", text.substr(0, 8), "is not a JSON object", kMalformed);
  }
  return text;
}

}  // namespace

Json parse_json_unique_keys(std::string_view text, std::string_view where) {
  std::vector<std::unordered_set<std::string>> keys;  // by depth
  const auto on_event = [&](int depth, Json::parse_event_t event, Json& parsed) {
    const auto level = static_cast<size_t>(depth);
    if (event == Json::parse_event_t::object_start) {
      if (keys.size() < level + 2) keys.resize(level + 2);
      keys[level + 1].clear();
    } else if (event == Json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys[level].insert(key).second) {
        throw_corrupt(where, printable(key), {}, "key appears twice in the JSON", kMalformed);
      }
    }
    return true;
  };
  try {
    Json json = parse_json(text, where);  // first: it bounds the depth
    [[maybe_unused]] const Json same = Json::parse(text, on_event);
    return json;
  } catch (const Json::out_of_range&) {
    throw_corrupt(where, "JSON number", {}, "is too large", kMalformed);
  }
}

SafetensorsHeader parse_safetensors_header(ByteReader& reader) {
  const std::string& file = reader.name();
  const std::string text = read_json_text(reader);
  const Json header = parse_json_unique_keys(text, file);
  const int64_t data_begin = reader.position();
  const int64_t data_bytes = reader.remaining();

  SafetensorsHeader result;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") continue;
    const Entry entry{.file = file, .field = "tensor " + printable(name), .value = value};
    if (name.empty()) entry.corrupt("name", {}, "is empty");
    if (!value.is_object()) entry.corrupt("entry", value.type_name(), "is not a JSON object");
    StoredTensor tensor = read_entry(entry, data_bytes);
    tensor.name = name;
    result.tensors.push_back(std::move(tensor));
  }
  // An empty tensor lies before the one that begins where it does.
  std::sort(result.tensors.begin(), result.tensors.end(),
            [](const StoredTensor& a, const StoredTensor& b) {
              return std::tie(a.offset, a.size_bytes) < std::tie(b.offset, b.size_bytes);
            });
  check_layout(file, result.tensors, data_bytes);
  for (StoredTensor& tensor : result.tensors) tensor.offset += data_begin;
  return result;
}

}  // namespace dak
