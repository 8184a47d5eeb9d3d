#include "format/gguf.h"

#include <fmt/format.h>

#include <regex>
#include <utility>

#include "base/error.h"
#include "format/gguf_header.h"

namespace dak {
namespace {

constexpr std::string_view kFetchParts = "fetch all parts of the model into one folder";
constexpr std::string_view kScaleEnding = ".scale";
constexpr std::string_view kWeightEnding = ".weight";

struct PartName {
  std::string stem;  // before the number
  int64_t number = 0;
  int64_t parts = 0;
};

// "model-00002-of-00005.gguf", as llama.cpp writes and reads the names of parts.
std::optional<PartName> part_name(const std::filesystem::path& path) {
  static const std::regex kPattern("(.+)-([0-9]{5})-of-([0-9]{5})");
  const std::string stem = path.stem().string();
  std::smatch match;
  if (path.extension() != ".gguf" || !std::regex_match(stem, match, kPattern)) return std::nullopt;
  return PartName{match[1], std::stol(match[2]), std::stol(match[3])};
}

std::filesystem::path part_path(const std::filesystem::path& folder, const PartName& name,
                                int64_t number) {
  return folder / fmt::format("{}-{:05}-of-{:05}.gguf", name.stem, number, name.parts);
}

GgufHeader read_header(const RandomAccessFile& file) {
  ByteReader reader(file);
  return parse_gguf_header(reader);
}

int64_t part_count(const GgufHeader& header) {
  return header.metadata.integer("split.count").value_or(1);
}

struct OpenPart {
  RandomAccessFile file;
  GgufHeader header;
};

OpenPart open_part(const std::filesystem::path& path) {
  RandomAccessFile file(path);
  GgufHeader header = read_header(file);
  return {std::move(file), std::move(header)};
}

class Parts {
 public:
  Parts(const std::filesystem::path& path, OpenPart given)
      : folder_(path.parent_path()), given_(std::move(given)) {
    const std::optional<PartName> name = part_name(path);
    const int64_t count = part_count(given_.header);
    if (!name || name->parts != count) {
      throw_invalid(
          path.string(), "split.count", std::to_string(count),
          "the file is a part of a model, and is not named as one",
          fmt::format("name it and the others NAME-00001-of-{:05}.gguf and so on", count));
    }
    name_ = *name;
  }

  GgufFile open() {
    OpenPart first = part(1);
    GgufHeader& whole = first.header;
    files_.push_back(std::move(first.file));
    for (int64_t number = 2; number <= name_.parts; ++number) add(part(number), whole.tensors);
    const auto tensors = static_cast<int64_t>(whole.tensors.size());
    const int64_t wanted = whole.metadata.integer("split.tensors.count").value_or(tensors);
    if (wanted != tensors) {
      throw_corrupt(whole.metadata.file(), "split.tensors.count", std::to_string(wanted),
                    fmt::format("is not the number of tensors in all parts, {}", tensors),
                    kFetchParts);
    }
    return {.version = whole.version,
            .metadata = std::move(whole.metadata),
            .checkpoint = Checkpoint(std::move(files_), std::move(whole.tensors))};
  }

 private:
  OpenPart part(int64_t number) {
    const std::filesystem::path path = part_path(folder_, name_, number);
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) {
      throw Error(ErrorCode::kNotFound,
                  {.where = path.string(),
                   .field = {},
                   .value = {},
                   .problem = fmt::format("is missing: the model has {} parts", name_.parts),
                   .fix = std::string(kFetchParts)});
    }
    OpenPart found = number == name_.number ? std::move(given_) : open_part(path);
    check_part(found.header, number);
    return found;
  }

  void add(OpenPart part, std::vector<StoredTensor>& tensors) {
    for (StoredTensor& tensor : part.header.tensors) {
      tensor.file = static_cast<int>(files_.size());
      tensors.push_back(std::move(tensor));
    }
    files_.push_back(std::move(part.file));
  }

  void check_part(const GgufHeader& header, int64_t number) const {
    const GgufMetadata& metadata = header.metadata;
    if (part_count(header) != name_.parts) {
      throw_corrupt(metadata.file(), "split.count", std::to_string(part_count(header)),
                    fmt::format("is not that of the other parts, {}", name_.parts), kFetchParts);
    }
    const int64_t own = metadata.integer("split.no").value_or(-1) + 1;
    if (own != number) {
      throw_corrupt(metadata.file(), "split.no", std::to_string(own - 1),
                    fmt::format("is not that of part {}, {}", number, number - 1), kFetchParts);
    }
  }

  std::filesystem::path folder_;
  OpenPart given_;
  PartName name_;
  std::vector<RandomAccessFile> files_;
};

GgufFile open_parts(const std::filesystem::path& path) {
  OpenPart part = open_part(path);
  if (part_count(part.header) > 1) return Parts(path, std::move(part)).open();
  std::vector<RandomAccessFile> files;
  files.push_back(std::move(part.file));
  return {.version = part.header.version,
          .metadata = std::move(part.header.metadata),
          .checkpoint = Checkpoint(std::move(files), std::move(part.header.tensors))};
}

// NVFP4's scale of a whole tensor is a tensor of its own: "blk.0.ffn_up.scale" of
// "blk.0.ffn_up.weight".
void take_scales(Checkpoint& checkpoint) {
  for (const StoredTensor& scale : checkpoint.tensors()) {
    if (!scale.name.ends_with(kScaleEnding)) continue;
    const std::string name =
        scale.name.substr(0, scale.name.size() - kScaleEnding.size()) + std::string(kWeightEnding);
    if (checkpoint.find(name) == nullptr) continue;
    if (scale.rows() * scale.cols() != 1) {
      throw_unsupported(checkpoint.file_of(scale), "tensor " + printable(scale.name),
                        std::to_string(scale.rows() * scale.cols()),
                        "several scales of one tensor are not supported");
    }
    float value = 1;
    checkpoint.read_rows(scale, 0, 1, std::span(&value, 1));
    checkpoint.set_scale(name, value);
  }
}

}  // namespace

GgufFile open_gguf(const std::filesystem::path& path) {
  GgufFile file = open_parts(path);
  take_scales(file.checkpoint);
  return file;
}

std::string gguf_stem(const std::filesystem::path& path) {
  const std::optional<PartName> part = part_name(path);
  return part ? part->stem : path.stem().string();
}

}  // namespace dak
