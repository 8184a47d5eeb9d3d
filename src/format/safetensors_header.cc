#include "format/safetensors_header.h"

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_set>
#include <utility>

#include "base/error.h"

namespace dak {
namespace {

constexpr std::string_view kDamaged = "the file is damaged: fetch it again";
constexpr int64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's limit
constexpr size_t kMaxRank = 8;

struct ElementType {
  std::string_view name;
  int bytes;                   // 0: not a whole number of bytes
  std::optional<DType> dtype;  // what dak reads it as
  bool skip;                   // integers and booleans: listed, not loaded
};

// Types of the format; those neither read nor skipped are floating-point types dak cannot read.
constexpr std::array<ElementType, 19> kTypes{{
    {"F32", 4, DType::kF32, false},      {"F16", 2, DType::kF16, false},
    {"BF16", 2, DType::kBF16, false},    {"BOOL", 1, std::nullopt, true},
    {"U8", 1, std::nullopt, true},       {"I8", 1, std::nullopt, true},
    {"U16", 2, std::nullopt, true},      {"I16", 2, std::nullopt, true},
    {"U32", 4, std::nullopt, true},      {"I32", 4, std::nullopt, true},
    {"U64", 8, std::nullopt, true},      {"I64", 8, std::nullopt, true},
    {"F64", 8, std::nullopt, false},     {"F8_E4M3", 1, std::nullopt, false},
    {"F8_E5M2", 1, std::nullopt, false}, {"F8_E8M0", 1, std::nullopt, false},
    {"F4", 0, std::nullopt, false},      {"F6_E2M3", 0, std::nullopt, false},
    {"F6_E3M2", 0, std::nullopt, false},
}};

// Where an entry's errors point to.
struct Entry {
  std::string_view file;
  std::string field;  // "tensor NAME"
  const Json& value;

  [[noreturn]] void corrupt(std::string_view part, std::string_view shown,
                            std::string_view problem) const {
    throw_corrupt(file, fmt::format("{} {}", field, part), shown, problem, kDamaged);
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

const ElementType& element_type(const Entry& entry) {
  const auto found = entry.value.find("dtype");
  if (found == entry.value.end()) entry.corrupt("dtype", {}, "is missing");
  if (!found->is_string()) entry.corrupt("dtype", found->type_name(), "is not a string");
  const auto& text = found->get_ref<const std::string&>();
  const auto* type = std::find_if(kTypes.begin(), kTypes.end(),
                                  [&](const ElementType& t) { return t.name == text; });
  if (type == kTypes.end() || (!type->dtype && !type->skip)) {
    throw_unsupported(entry.file, entry.field + " dtype", text, "is a type that dak does not read",
                      "convert the model to F32, F16 or BF16");
  }
  return *type;
}

std::vector<int64_t> shape_of(const Entry& entry, int element_bytes) {
  const Json& dims = entry.array("shape");
  if (dims.size() > kMaxRank) {
    entry.corrupt("shape", fmt::format("of rank {}", dims.size()),
                  fmt::format("has more than {} dimensions", kMaxRank));
  }
  std::vector<int64_t> shape;
  int64_t bytes = element_bytes;
  for (const Json& value : dims) {
    const int64_t dim = entry.whole(value, "shape");
    if (dim == 0) entry.corrupt("shape", value.dump(), "has a dimension of zero");
    if (dim > std::numeric_limits<int64_t>::max() / bytes) {
      entry.corrupt("shape", value.dump(), "makes more bytes than any file holds");
    }
    bytes *= dim;
    shape.push_back(dim);
  }
  return shape;
}

// Offsets count from the beginning of the data, which has `data_bytes`.
StoredTensor read_entry(const Entry& entry, const ElementType& type, int64_t data_bytes) {
  StoredTensor tensor;
  tensor.dtype = type.dtype.value_or(DType::kF32);
  tensor.shape = shape_of(entry, type.bytes);
  const Json& offsets = entry.array("data_offsets");
  if (offsets.size() != 2) entry.corrupt("data_offsets", offsets.dump(), "is not a pair");
  const int64_t begin = entry.whole(offsets[0], "data_offsets");
  const int64_t end = entry.whole(offsets[1], "data_offsets");
  const std::string shown = fmt::format("[{}, {}]", begin, end);
  if (begin > end) entry.corrupt("data_offsets", shown, "ends before it begins");
  if (end > data_bytes) {
    entry.corrupt(
        "data_offsets", shown,
        fmt::format("ends outside the {} bytes of data: is the file truncated?", data_bytes));
  }
  tensor.offset = begin;
  tensor.size_bytes = type.bytes;
  for (const int64_t dim : tensor.shape) tensor.size_bytes *= dim;
  if (end - begin != tensor.size_bytes) {
    entry.corrupt("data_offsets", shown,
                  fmt::format("spans {} bytes where dtype and shape make {}", end - begin,
                              tensor.size_bytes));
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
                    kDamaged);
    }
    end += tensor.size_bytes;
  }
  if (end != data_bytes) {
    throw_corrupt(file, "data", std::to_string(data_bytes),
                  fmt::format("bytes follow the header where its tensors take {}", end), kDamaged);
  }
}

std::string read_json_text(ByteReader& reader) {
  const int64_t length = reader.read_count(1, kMaxHeaderBytes, "header length");
  std::string text(static_cast<size_t>(length), '\0');
  reader.read_bytes(std::as_writable_bytes(std::span(text)), "header");
  if (!text.starts_with('{')) {
    throw_corrupt(reader.name(), "header", text.substr(0, 8), "is not a JSON object", kDamaged);
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
        throw_corrupt(where, printable(key), {}, "key appears twice in the JSON", kDamaged);
      }
    }
    return true;
  };
  try {
    Json json = parse_json(text, where);  // first: it bounds the depth
    [[maybe_unused]] const Json same = Json::parse(text, on_event);
    return json;
  } catch (const Json::out_of_range&) {
    throw_corrupt(where, "JSON number", {}, "is too large", kDamaged);
  }
}

SafetensorsHeader parse_safetensors_header(ByteReader& reader) {
  const std::string& file = reader.name();
  const std::string text = read_json_text(reader);
  const Json header = parse_json_unique_keys(text, file);
  const int64_t data_begin = reader.position();
  const int64_t data_bytes = reader.remaining();

  SafetensorsHeader result;
  std::vector<StoredTensor> all;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") continue;
    const Entry entry{.file = file, .field = "tensor " + printable(name), .value = value};
    if (name.empty()) entry.corrupt("name", {}, "is empty");
    if (!value.is_object()) entry.corrupt("entry", value.type_name(), "is not a JSON object");
    const ElementType& type = element_type(entry);
    StoredTensor tensor = read_entry(entry, type, data_bytes);
    tensor.name = name;
    if (type.skip) result.skipped.push_back(name);
    all.push_back(std::move(tensor));
  }
  std::sort(all.begin(), all.end(),
            [](const StoredTensor& a, const StoredTensor& b) { return a.offset < b.offset; });
  check_layout(file, all, data_bytes);

  const std::unordered_set<std::string_view> skipped(result.skipped.begin(), result.skipped.end());
  for (StoredTensor& tensor : all) {
    if (skipped.contains(tensor.name)) continue;
    tensor.offset += data_begin;
    result.tensors.push_back(std::move(tensor));
  }
  return result;
}

}  // namespace dak
