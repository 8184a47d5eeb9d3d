// Typed access to config.json with errors that name the file and the field.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace dak {

class HfConfig {
 public:
  HfConfig(const nlohmann::json& json, std::string_view where) : json_(json), where_(where) {
    if (!json.is_object()) throw_corrupt(where, {}, {}, "is not a JSON object");
  }

  const std::string& where() const { return where_; }
  bool has(const char* field) const { return find(field) != nullptr; }

  int64_t integer(const char* field) const {
    const nlohmann::json* value = find(field);
    if (value == nullptr) throw_corrupt(where_, field, {}, "is missing");
    return integer_of(*value, field);
  }
  int64_t integer_or(const char* field, int64_t fallback) const {
    const nlohmann::json* value = find(field);
    return value == nullptr ? fallback : integer_of(*value, field);
  }
  double number_or(const char* field, double fallback) const {
    const nlohmann::json* value = find(field);
    if (value == nullptr) return fallback;
    if (!value->is_number()) wrong_type(*value, field, "a number");
    return value->get<double>();
  }
  bool flag_or(const char* field, bool fallback) const {
    const nlohmann::json* value = find(field);
    if (value == nullptr) return fallback;
    if (!value->is_boolean()) wrong_type(*value, field, "true or false");
    return value->get<bool>();
  }
  std::string text_or(const char* field, std::string_view fallback) const {
    const nlohmann::json* value = find(field);
    if (value == nullptr) return std::string(fallback);
    if (!value->is_string()) wrong_type(*value, field, "a string");
    return value->get<std::string>();
  }
  // nullptr where the field is missing or null.
  const nlohmann::json* find(const char* field) const {
    const auto found = json_.find(field);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }

 private:
  int64_t integer_of(const nlohmann::json& value, const char* field) const {
    if (!value.is_number_integer()) wrong_type(value, field, "an integer");
    if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX}) {
      wrong_type(value, field, "an integer of at most 63 bits");
    }
    return value.get<int64_t>();
  }
  [[noreturn]] void wrong_type(const nlohmann::json& value, const char* field,
                               std::string_view expected) const {
    throw_corrupt(where_, field,
                  value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace),
                  fmt::format("must be {}", expected));
  }

  const nlohmann::json& json_;
  std::string where_;
};

}  // namespace dak
