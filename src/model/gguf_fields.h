// Typed access to the keys of one architecture in GGUF metadata ("llama.block_count").
#pragma once

#include <fmt/core.h>

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "format/gguf.h"

namespace dak {

class GgufFields {
 public:
  GgufFields(const GgufMetadata& metadata, std::string_view architecture)
      : metadata_(metadata), architecture_(architecture) {}

  const GgufMetadata& metadata() const { return metadata_; }
  std::string key(std::string_view field) const {
    return fmt::format("{}.{}", architecture_, field);
  }

  // An integer, or an array that has the same one for each layer.
  std::optional<int64_t> find_integer(std::string_view field) const {
    const std::string name = key(field);
    const GgufValue* value = metadata_.find(name);
    const auto* each = value == nullptr ? nullptr : std::get_if<std::vector<int64_t>>(value);
    if (each == nullptr) return metadata_.integer(name);
    for (const int64_t number : *each) {
      if (number == each->front()) continue;
      throw_unsupported(metadata_.file(), name, fmt::format("{} and {}", each->front(), number),
                        "layers of different sizes are not supported");
    }
    if (each->empty()) throw_corrupt(metadata_.file(), name, {}, "is an empty array");
    return each->front();
  }
  int64_t integer(std::string_view field) const {
    const std::optional<int64_t> value = find_integer(field);
    if (!value) throw_corrupt(metadata_.file(), key(field), {}, "is missing");
    return *value;
  }
  int64_t integer_or(std::string_view field, int64_t otherwise) const {
    return find_integer(field).value_or(otherwise);
  }

  // Finite.
  std::optional<double> find_number(std::string_view field) const {
    const std::optional<double> value = metadata_.number(key(field));
    if (value && !std::isfinite(*value)) {
      throw_corrupt(metadata_.file(), key(field), fmt::format("{}", *value),
                    "must be a finite number");
    }
    return value;
  }
  double number_or(std::string_view field, double otherwise) const {
    return find_number(field).value_or(otherwise);
  }
  double positive_or(std::string_view field, double otherwise) const {
    const double value = number_or(field, otherwise);
    if (!(value > 0)) {
      throw_corrupt(metadata_.file(), key(field), fmt::format("{}", value), "must be positive");
    }
    return value;
  }

 private:
  const GgufMetadata& metadata_;
  std::string architecture_;
};

}  // namespace dak
