// Images of GGUF and safetensors files for tests, built field by field so that any field can lie.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/error.h"
#include "support/throws_error.h"

namespace dak {

// A folder of its own for the test, removed with it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string path = (std::filesystem::temp_directory_path() / "dak_format_XXXXXX").string();
    if (mkdtemp(path.data()) != nullptr) path_ = path;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path write(std::string_view name, std::string_view bytes) const {
    std::filesystem::path file = path_ / name;
    std::ofstream(file, std::ios::binary) << bytes;
    return file;
  }

 private:
  std::filesystem::path path_;
};

// Little-endian, as both formats are.
template <typename T>
std::string le(T value) {
  static_assert(std::is_arithmetic_v<T>);
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

template <typename T>
std::string le_all(const std::vector<T>& values) {
  std::string bytes;
  for (const T value : values) bytes += le(value);
  return bytes;
}

inline std::string gguf_string(std::string_view text) {
  return le<uint64_t>(text.size()) + std::string(text);
}

// Numbers of the GGUF specification's value types.
enum GgufType : uint32_t {
  kGgufU8 = 0,
  kGgufI8 = 1,
  kGgufU16 = 2,
  kGgufI16 = 3,
  kGgufU32 = 4,
  kGgufI32 = 5,
  kGgufF32 = 6,
  kGgufBool = 7,
  kGgufString = 8,
  kGgufArray = 9,
  kGgufU64 = 10,
  kGgufI64 = 11,
  kGgufF64 = 12,
};

inline std::string gguf_key(std::string_view key, uint32_t type, std::string_view value) {
  return gguf_string(key) + le(type) + std::string(value);
}

inline std::string gguf_array(std::string_view key, uint32_t type, uint64_t count,
                              std::string_view values) {
  return gguf_key(key, kGgufArray, le(type) + le(count) + std::string(values));
}

// `dims` innermost first, as the format has them.
inline std::string gguf_tensor(std::string_view name, const std::vector<uint64_t>& dims,
                               uint32_t type, uint64_t offset) {
  return gguf_string(name) + le(static_cast<uint32_t>(dims.size())) + le_all(dims) + le(type) +
         le(offset);
}

struct GgufImage {
  std::string magic = "GGUF";
  uint32_t version = 3;
  std::optional<uint64_t> tensor_count;  // the real ones where not set
  std::optional<uint64_t> key_count;
  std::vector<std::string> keys;
  std::vector<std::string> tensors;
  size_t alignment = 32;
  std::string data;

  std::string header() const {
    std::string bytes = magic + le(version) + le(tensor_count.value_or(tensors.size())) +
                        le(key_count.value_or(keys.size()));
    for (const std::string& key : keys) bytes += key;
    for (const std::string& tensor : tensors) bytes += tensor;
    return bytes;
  }
  std::string bytes() const {
    std::string all = header();
    all.resize((all.size() + alignment - 1) / alignment * alignment, '\0');
    return all + data;
  }
};

struct SafetensorsImage {
  std::string json;
  std::string data;
  std::optional<uint64_t> length;  // the real one where not set

  std::string bytes() const { return le<uint64_t>(length.value_or(json.size())) + json + data; }
};

// Runs `open`, which must throw dak::Error with `code`, and whose one-line message must hold each
// of `parts`.
inline void expect_error(const std::function<void()>& open, ErrorCode code,
                         const std::vector<std::string>& parts) {
  EXPECT_TRUE(test::throws_error(code, parts, open));
}

}  // namespace dak
