#include "format/safetensors.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

#include "base/error.h"
#include "format/model_json.h"
#include "format/safetensors_header.h"

namespace dak {
namespace {

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";
constexpr std::string_view kFetchAgain = "fetch the whole model folder again";

// Names of the tensors that the index puts into each shard.
using Shards = std::map<std::string, std::vector<std::string>>;

// A shard lies in the model's folder or below it, whatever the index says.
bool stays_inside(const std::filesystem::path& shard) {
  if (shard.empty() || shard.is_absolute()) return false;
  if (shard.native().find('\0') != std::string::npos) return false;
  for (const auto& part : shard) {
    if (part == "..") return false;
  }
  return true;
}

Shards read_index(const std::filesystem::path& path) {
  const std::string text = read_model_text(path);
  const std::string where = path.string();
  const Json index = parse_json_unique_keys(text, where);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    throw_corrupt(where, "weight_map", {}, "is missing or not a JSON object", kFetchAgain);
  }
  Shards shards;
  for (const auto& [name, shard] : index["weight_map"].items()) {
    const std::string field = "weight_map " + printable(name);
    if (!shard.is_string()) {
      throw_corrupt(where, field, shard.type_name(), "is not the name of a file", kFetchAgain);
    }
    const auto& file = shard.get_ref<const std::string&>();
    if (!stays_inside(file)) {
      throw_corrupt(where, field, file, "is not the name of a file in the model's folder",
                    kFetchAgain);
    }
    shards[file].push_back(name);
  }
  if (shards.empty()) throw_corrupt(where, "weight_map", {}, "names no tensor", kFetchAgain);
  return shards;
}

class Builder {
 public:
  void add_file(const std::filesystem::path& path, const std::vector<std::string>& expected,
                const std::string& index) {
    RandomAccessFile file(path);
    ByteReader reader(file);
    SafetensorsHeader header = parse_safetensors_header(reader);
    check_expected(header, expected, file.path(), index);
    for (StoredTensor& tensor : header.tensors) {
      tensor.file = static_cast<int>(files_.size());
      tensors_.push_back(std::move(tensor));
    }
    files_.push_back(std::move(file));
  }

  Checkpoint build() && { return {std::move(files_), std::move(tensors_)}; }

 private:
  static void check_expected(const SafetensorsHeader& header,
                             const std::vector<std::string>& expected, const std::string& file,
                             const std::string& index) {
    std::unordered_set<std::string_view> there;
    for (const StoredTensor& tensor : header.tensors) there.insert(tensor.name);
    for (const std::string& name : expected) {
      if (there.contains(name)) continue;
      throw_corrupt(file, "tensor", name,
                    fmt::format("is not in this shard, where {} puts it", index), kFetchAgain);
    }
  }

  std::vector<RandomAccessFile> files_;
  std::vector<StoredTensor> tensors_;
};

bool is_there(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

// What a folder may hold instead of safetensors, the likeliest first.
struct OtherWeights {
  std::string_view ending;
  std::string_view fix;
};

constexpr OtherWeights kOtherWeights[] = {
    {"consolidated.safetensors",
     "it has Mistral's own names: fetch the model.safetensors of the same model"},
    {".gguf", "give that file itself"},
    {"adapter_model.safetensors",
     "merge the adapter into its model (merge_and_unload of peft does)"},
    {".safetensors", "dak reads model.safetensors or the shards that its index names"},
    {".bin", "dak reads no pickles: convert it to safetensors (save_pretrained does)"},
    {".pth", "dak reads no pickles: convert it to safetensors (save_pretrained does)"},
    {".pt", "dak reads no pickles: convert it to safetensors (save_pretrained does)"},
    {".ckpt", "dak reads no pickles: convert it to safetensors (save_pretrained does)"},
    {".h5", "fetch the safetensors of the same model"},
    {".msgpack", "fetch the safetensors of the same model"},
    {".onnx", "fetch the safetensors of the same model"},
};

[[noreturn]] void throw_no_model(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  std::string found;
  std::string_view fix = "give the folder of a Hugging Face model or a .gguf file";
  for (const OtherWeights& other : kOtherWeights) {
    const auto name = std::find_if(names.begin(), names.end(),
                                   [&](const std::string& n) { return n.ends_with(other.ending); });
    if (name == names.end()) continue;
    found = fmt::format(", but {}", printable(*name));
    fix = other.fix;
    break;
  }
  throw Error(ErrorCode::kNotFound,
              {.where = folder.string(),
               .field = {},
               .value = {},
               .problem = fmt::format("holds neither {} nor {}{}", kSingleFile, kIndexFile, found),
               .fix = std::string(fix)});
}

}  // namespace

Checkpoint open_safetensors(const std::filesystem::path& folder) {
  Builder builder;
  if (is_there(folder / kSingleFile)) {  // first, as transformers does
    builder.add_file(folder / kSingleFile, {}, {});
    return std::move(builder).build();
  }
  const std::filesystem::path index = folder / kIndexFile;
  if (!is_there(index)) throw_no_model(folder);
  for (const auto& [shard, names] : read_index(index)) {
    if (!is_there(folder / shard)) {
      throw Error(ErrorCode::kNotFound,
                  {.where = index.string(),
                   .field = "weight_map " + printable(names.front()),
                   .value = shard,
                   .problem = fmt::format("this shard is missing in {}", folder.string()),
                   .fix = "fetch the missing file"});
    }
    builder.add_file(folder / shard, names, index.filename().string());
  }
  return std::move(builder).build();
}

}  // namespace dak
