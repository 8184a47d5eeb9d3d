// A value in a JSON file together with its path, so that every complaint names file, path and
// value.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"

namespace dak {

class JsonField {
 public:
  JsonField(const Json& value, std::string path, std::string_view where)
      : value_(&value), path_(std::move(path)), where_(where) {}

  const Json& value() const { return *value_; }
  const std::string& path() const { return path_; }
  std::string_view where() const { return where_; }
  bool is_null() const { return value_->is_null(); }

  // kCorrupt where the value has another type.
  std::string string() const;
  bool boolean() const;
  int64_t integer(int64_t low, int64_t high) const;  // 2.0 is 2
  double number(double low, double high) const;      // whole or not
  std::vector<JsonField> items() const;

  // A member of an object. kCorrupt where it is missing.
  JsonField at(std::string_view key) const;
  // nullopt where it is missing or null.
  std::optional<JsonField> find(std::string_view key) const;
  bool boolean_or(std::string_view key, bool otherwise) const;

  // kUnsupported where the object has a member not named here.
  void expect_only(std::initializer_list<std::string_view> keys) const;

  [[noreturn]] void corrupt(std::string_view problem, std::string_view fix = {}) const;
  [[noreturn]] void unsupported(std::string_view problem, std::string_view fix = {}) const;

  std::string value_text() const;  // short, for errors

 private:
  void expect_object() const;
  std::string child_path(std::string_view key) const;

  const Json* value_;
  std::string path_;
  std::string_view where_;
};

}  // namespace dak
