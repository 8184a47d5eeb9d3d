// Typed access to config.json with errors that name the file and the field. A missing field means
// what its row in the family's table says, which is what transformers' class means.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "model/config_keys.h"

namespace dak {

class HfConfig {
 public:
  // `prefix` is what errors put before a field: "rope_parameters.". `keys` must outlive the object.
  HfConfig(const Json& json, std::span<const ConfigKey> keys, std::string_view where,
           std::string prefix = {});

  const std::string& where() const { return where_; }
  std::string path(std::string_view field) const { return prefix_ + std::string(field); }
  // Whether the file has the field, null or not.
  bool has(std::string_view field) const { return json_.contains(field); }

  // kCorrupt where the value has another type, or is null or missing where that is no value.
  int64_t integer(std::string_view field) const;
  double number(std::string_view field) const;  // finite
  bool flag(std::string_view field) const;
  std::string text(std::string_view field) const;
  // nullopt for null, which the table must allow.
  std::optional<int64_t> optional_integer(std::string_view field) const;
  std::optional<double> optional_number(std::string_view field) const;
  std::optional<std::string> optional_text(std::string_view field) const;

  // The value; a missing field's is the table's.
  const Json& value(std::string_view field) const;

  [[noreturn]] void wrong(std::string_view field, std::string_view problem) const;
  [[noreturn]] void unsupported(std::string_view field, std::string_view problem,
                                std::string_view fix = {}) const;

 private:
  const Json& json_;
  std::span<const ConfigKey> keys_;
  std::string where_;
  std::string prefix_;
  Json missing_ = Json::object();  // what missing fields mean
};

}  // namespace dak
