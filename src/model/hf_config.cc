#include "model/hf_config.h"

#include <cmath>

#include "base/error.h"

namespace dak {
namespace {

bool is_whole(const Json& value) {
  return value.is_number_integer() &&
         !(value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX});
}

}  // namespace

HfConfig::HfConfig(const Json& json, std::span<const ConfigKey> keys, std::string_view where,
                   std::string prefix)
    : json_(json), keys_(keys), where_(where), prefix_(std::move(prefix)) {
  if (!json.is_object()) throw_corrupt(where, prefix_, json.type_name(), "is not a JSON object");
  for (const ConfigKey& key : keys) {
    if (key.use != KeyUse::kUsed || key.values.empty()) continue;
    missing_[std::string(key.name)] = Json::parse(key.values);
  }
}

const Json& HfConfig::value(std::string_view field) const {
  const auto found = json_.find(field);
  if (found != json_.end()) {
    const ConfigKey* key = find_key(keys_, field);
    if (found->is_null() && (key == nullptr || !key->nullable)) {
      wrong(field, "null is not a value of it");
    }
    return *found;
  }
  const auto meant = missing_.find(field);
  if (meant == missing_.end()) throw_corrupt(where_, path(field), {}, "is missing");
  return *meant;
}

int64_t HfConfig::integer(std::string_view field) const {
  const Json& held = value(field);
  if (!is_whole(held)) wrong(field, "must be an integer of at most 63 bits");
  return held.get<int64_t>();
}

double HfConfig::number(std::string_view field) const {
  const Json& held = value(field);
  if (!held.is_number()) wrong(field, "must be a number");
  if (!std::isfinite(held.get<double>())) wrong(field, "must be a finite number");
  return held.get<double>();
}

bool HfConfig::flag(std::string_view field) const {
  const Json& held = value(field);
  if (!held.is_boolean()) wrong(field, "must be true or false");
  return held.get<bool>();
}

std::string HfConfig::text(std::string_view field) const {
  const Json& held = value(field);
  if (!held.is_string()) wrong(field, "must be a string");
  return held.get<std::string>();
}

std::optional<int64_t> HfConfig::optional_integer(std::string_view field) const {
  if (value(field).is_null()) return std::nullopt;
  return integer(field);
}

std::optional<double> HfConfig::optional_number(std::string_view field) const {
  if (value(field).is_null()) return std::nullopt;
  return number(field);
}

std::optional<std::string> HfConfig::optional_text(std::string_view field) const {
  if (value(field).is_null()) return std::nullopt;
  return text(field);
}

void HfConfig::wrong(std::string_view field, std::string_view problem) const {
  const auto found = json_.find(field);
  throw_corrupt(where_, path(field), found == json_.end() ? "" : printable(json_text(*found)),
                problem);
}

void HfConfig::unsupported(std::string_view field, std::string_view problem,
                           std::string_view fix) const {
  const auto found = json_.find(field);
  throw_unsupported(where_, path(field), found == json_.end() ? "" : printable(json_text(*found)),
                    problem, fix);
}

}  // namespace dak
