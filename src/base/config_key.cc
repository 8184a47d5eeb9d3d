#include "base/config_key.h"

#include <algorithm>
#include <array>

#include "base/error.h"

namespace dak {
namespace {

// Parts of names of fields that change what a model computes.
constexpr std::array<std::string_view, 27> kTellingWords{
    "attention", "attn",      "rope",   "rotary",     "scal",   "softcap",     "norm",
    "expert",    "moe",       "window", "residual",   "logit",  "multiplier",  "clamp",
    "bias",      "quant",     "lora",   "sliding",    "alibi",  "layer_types", "mamba",
    "altup",     "deepstack", "mtp",    "activation", "sparse", "temperature"};

bool fits(std::string_view pattern, std::string_view key) {
  if (pattern == key) return true;
  const bool open_begin = pattern.starts_with('*');
  const bool open_end = pattern.ends_with('*');
  if (open_begin) pattern.remove_prefix(1);
  if (open_end) pattern.remove_suffix(1);
  if (open_begin && open_end) return key.find(pattern) != key.npos;
  if (open_begin) return key.ends_with(pattern);
  return open_end && key.starts_with(pattern);
}

bool is_pattern(const ConfigKey& key) {
  return key.name.starts_with('*') || key.name.ends_with('*');
}

std::string shortened(const Json& value) { return printable(json_text(value)); }

}  // namespace

std::string_view name(KeyUse use) {
  switch (use) {
    case KeyUse::kUsed:
      return "used";
    case KeyUse::kIgnored:
      return "ignored";
    case KeyUse::kMustBe:
      return "must be";
  }
  return {};
}

const ConfigKey* find_key(std::span<const ConfigKey> keys, std::string_view key) {
  const ConfigKey* found = nullptr;
  for (const ConfigKey& row : keys) {
    if (row.name == key) return &row;
    if (found == nullptr && is_pattern(row) && fits(row.name, key)) found = &row;
  }
  return found;
}

bool could_matter(std::string_view key) {
  return std::ranges::any_of(kTellingWords,
                             [key](std::string_view word) { return key.find(word) != key.npos; });
}

bool is_switched_off(const Json& value) {
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_number()) return value == 0;
  if (value.is_string()) return value.get_ref<const std::string&>().empty();
  return value.is_null() || (value.is_structured() && value.empty());
}

void check_key(std::span<const ConfigKey> keys, std::string_view key, std::string_view path,
               const Json& value, std::string_view where) {
  const ConfigKey* row = find_key(keys, key);
  if (row == nullptr) {
    if (is_switched_off(value) || !could_matter(key)) return;
    throw_unsupported(where, path, shortened(value),
                      "is not a field that dak knows, and by its name it may change the result",
                      "remove it if it does not");
  }
  if (row->use != KeyUse::kMustBe || value.is_null()) return;
  const Json taken = Json::parse(row->values);
  if (std::ranges::find(taken, value) != taken.end()) return;
  throw_unsupported(where, path, shortened(value), row->note,
                    taken.empty() ? std::string("dak takes such a model without it only")
                                  : fmt::format("dak takes {} only", [&taken] {
                                      std::string list;
                                      for (const Json& item : taken) {
                                        list += (list.empty() ? "" : " or ") + json_text(item);
                                      }
                                      return list;
                                    }()));
}

void check_keys(std::span<const ConfigKey> keys, const Json& object, std::string_view where) {
  for (const auto& [key, value] : object.items()) {
    check_key(keys, key, printable(key), value, where);
  }
}

}  // namespace dak
