#include "base/json_field.h"

#include <algorithm>
#include <cmath>

namespace dak {
namespace {

// 2.0 is 2.
std::optional<int64_t> whole_number(const Json& value) {
  constexpr double kExact = 0x1p53;  // beyond it a double does not say which number was meant
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    return number <= uint64_t{INT64_MAX} ? std::optional(static_cast<int64_t>(number))
                                         : std::nullopt;
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  if (!value.is_number_float()) return std::nullopt;
  const auto number = value.get<double>();
  const bool whole = number == std::floor(number) && std::abs(number) <= kExact;
  return whole ? std::optional(static_cast<int64_t>(number)) : std::nullopt;
}

}  // namespace

std::string JsonField::value_text() const {
  if (value_->is_string()) return value_->get_ref<const std::string&>();
  if (value_->is_array()) return fmt::format("[{} items]", value_->size());
  if (value_->is_object()) return fmt::format("{{{} members}}", value_->size());
  return value_->dump();
}

void JsonField::corrupt(std::string_view problem, std::string_view fix) const {
  throw_corrupt(where_, path_, value_text(), problem, fix);
}

void JsonField::unsupported(std::string_view problem, std::string_view fix) const {
  throw_unsupported(where_, path_, value_text(), problem, fix);
}

std::string JsonField::child_path(std::string_view key) const {
  return path_.empty() ? printable(key) : fmt::format("{}.{}", path_, printable(key));
}

void JsonField::expect_object() const {
  if (!value_->is_object()) corrupt("must be an object");
}

std::string JsonField::string() const {
  if (!value_->is_string()) corrupt("must be a string");
  return value_->get<std::string>();
}

bool JsonField::boolean() const {
  if (!value_->is_boolean()) corrupt("must be true or false");
  return value_->get<bool>();
}

int64_t JsonField::integer(int64_t low, int64_t high) const {
  const std::optional<int64_t> whole = whole_number(*value_);
  if (!whole || *whole < low || *whole > high) {
    corrupt(fmt::format("must be a whole number from {} to {}", low, high));
  }
  return *whole;
}

double JsonField::number(double low, double high) const {
  if (!value_->is_number() || !(value_->get<double>() >= low && value_->get<double>() <= high)) {
    corrupt(fmt::format("must be a number from {} to {}", low, high));
  }
  return value_->get<double>();
}

std::vector<JsonField> JsonField::items() const {
  if (!value_->is_array()) corrupt("must be an array");
  std::vector<JsonField> items;
  for (size_t i = 0; i < value_->size(); ++i) {
    items.emplace_back((*value_)[i], fmt::format("{}[{}]", path_, i), where_);
  }
  return items;
}

JsonField JsonField::at(std::string_view key) const {
  expect_object();
  const auto found = value_->find(key);
  if (found == value_->end()) {
    throw_corrupt(where_, child_path(key), {}, "is missing");
  }
  return {*found, child_path(key), where_};
}

std::optional<JsonField> JsonField::find(std::string_view key) const {
  expect_object();
  const auto found = value_->find(key);
  if (found == value_->end() || found->is_null()) return std::nullopt;
  return JsonField(*found, child_path(key), where_);
}

bool JsonField::boolean_or(std::string_view key, bool otherwise) const {
  const auto field = find(key);
  return field ? field->boolean() : otherwise;
}

void JsonField::expect_only(std::initializer_list<std::string_view> keys) const {
  expect_object();
  for (const auto& [key, member] : value_->items()) {
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
      JsonField(member, child_path(key), where_).unsupported("dak does not know this member");
    }
  }
}

}  // namespace dak
