#include <array>
#include <utility>

#include "base/error.h"
#include "format/gguf.h"

namespace dak {
namespace {

// In the order of GgufValue's alternatives.
constexpr std::array<std::string_view, std::variant_size_v<GgufValue>> kKinds{
    "a boolean",
    "an integer",
    "a number",
    "a string",
    "an array of booleans",
    "an array of integers",
    "an array of numbers",
    "an array of strings"};

[[noreturn]] void throw_kind(const GgufMetadata& metadata, std::string_view key,
                             const GgufValue& value, std::string_view wanted) {
  throw_corrupt(metadata.file(), printable(key), {},
                fmt::format("is {} and should be {}", kKinds[value.index()], wanted),
                "convert the model again or fetch it from another source");
}

// The value as T, nullptr where the key is missing.
template <typename T>
const T* value_as(const GgufMetadata& metadata, std::string_view key, std::string_view wanted) {
  const GgufValue* value = metadata.find(key);
  if (value == nullptr) return nullptr;
  const T* result = std::get_if<T>(value);
  if (result == nullptr) throw_kind(metadata, key, *value, wanted);
  return result;
}

}  // namespace

GgufMetadata::GgufMetadata(std::string file, std::map<std::string, GgufValue, std::less<>> values)
    : file_(std::move(file)), values_(std::move(values)) {}

const GgufValue* GgufMetadata::find(std::string_view key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : &found->second;
}

std::optional<int64_t> GgufMetadata::integer(std::string_view key) const {
  const auto* value = value_as<int64_t>(*this, key, "an integer");
  return value == nullptr ? std::nullopt : std::optional(*value);
}

std::optional<double> GgufMetadata::number(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* whole = std::get_if<int64_t>(value)) return static_cast<double>(*whole);
  return *value_as<double>(*this, key, "a number");
}

std::optional<bool> GgufMetadata::boolean(std::string_view key) const {
  const auto* value = value_as<bool>(*this, key, "a boolean");
  return value == nullptr ? std::nullopt : std::optional(*value);
}

const std::string* GgufMetadata::string(std::string_view key) const {
  return value_as<std::string>(*this, key, "a string");
}

const std::vector<std::string>* GgufMetadata::strings(std::string_view key) const {
  return value_as<std::vector<std::string>>(*this, key, "an array of strings");
}

const std::vector<int64_t>* GgufMetadata::integers(std::string_view key) const {
  return value_as<std::vector<int64_t>>(*this, key, "an array of integers");
}

const std::vector<double>* GgufMetadata::numbers(std::string_view key) const {
  return value_as<std::vector<double>>(*this, key, "an array of numbers");
}

}  // namespace dak
