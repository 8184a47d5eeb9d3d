// GGUF v2 and v3: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "format/checkpoint.h"

namespace dak {

// Scalars are widened: every integer to int64 (uint64 beyond its range is refused), f32 to double.
// Arrays are of one scalar kind.
using GgufValue = std::variant<bool, int64_t, double, std::string, std::vector<bool>,
                               std::vector<int64_t>, std::vector<double>, std::vector<std::string>>;

class GgufMetadata {
 public:
  GgufMetadata(std::string file, std::map<std::string, GgufValue, std::less<>> values);

  const std::string& file() const { return file_; }
  const std::map<std::string, GgufValue, std::less<>>& values() const { return values_; }
  const GgufValue* find(std::string_view key) const;

  // The value as T (bool, int64_t, double, std::string or a vector of one): nullopt / nullptr where
  // the key is missing; kCorrupt naming key and file where it has another type. An int64_t is
  // accepted where a double is asked for.
  std::optional<int64_t> integer(std::string_view key) const;
  std::optional<double> number(std::string_view key) const;
  std::optional<bool> boolean(std::string_view key) const;
  const std::string* string(std::string_view key) const;
  const std::vector<std::string>* strings(std::string_view key) const;
  const std::vector<int64_t>* integers(std::string_view key) const;
  const std::vector<double>* numbers(std::string_view key) const;

 private:
  std::string file_;
  std::map<std::string, GgufValue, std::less<>> values_;
};

struct GgufFile {
  int version = 0;
  GgufMetadata metadata;
  Checkpoint checkpoint;
};

// Reads header, metadata and tensor table; every count, length, type, alignment and offset is
// checked against the file's size before it is used. Throws dak::Error naming file, field, value.
// Of a model that is split over NAME-00001-of-0000N.gguf and so on any part may be given: the
// metadata are the first one's, and tensors may lie in all.
GgufFile open_gguf(const std::filesystem::path& path);

// A file's name without its ending and the number of its part.
std::string gguf_stem(const std::filesystem::path& path);

}  // namespace dak
