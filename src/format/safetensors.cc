#include "format/safetensors.h"

#include <map>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

#include "base/error.h"
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
  const std::string text = read_text_file(path);
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
    std::unordered_set<std::string_view> there(header.skipped.begin(), header.skipped.end());
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

[[noreturn]] void throw_no_model(const std::filesystem::path& folder) {
  const bool torch =
      is_there(folder / "pytorch_model.bin") || is_there(folder / "pytorch_model.bin.index.json");
  throw Error(ErrorCode::kNotFound,
              {.where = folder.string(),
               .field = {},
               .value = {},
               .problem = fmt::format("holds neither {} nor {}", kSingleFile, kIndexFile),
               .fix = torch ? "convert its pytorch_model.bin to safetensors (save_pretrained does)"
                            : "give the folder of a Hugging Face model or a .gguf file"});
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
