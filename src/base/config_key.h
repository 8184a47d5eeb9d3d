// The keys of a model's configuration as data: which are used, which do not matter and why, and
// which dak takes with some values only. A key that is in no table is refused when its name says
// that it could change the result, so that nothing that does is dropped without a word.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace dak {

enum class KeyUse : uint8_t {
  kUsed,
  kIgnored,  // whatever its value is
  kMustBe,   // one of `values`, or it is refused
};

struct ConfigKey {
  std::string_view name;  // may begin or end with '*', any text; the exact name goes first
  KeyUse use = KeyUse::kUsed;
  // JSON. kUsed: what a missing key means, "" where it must be there; kMustBe: the list of values
  // that dak takes (null always is one).
  std::string_view values = {};
  std::string_view note = {};  // kUsed: what it sets, and what null means; else the reason
  bool nullable = false;       // kUsed: null is a value of it
};

using ConfigKeys = std::vector<ConfigKey>;

std::string_view name(KeyUse use);  // "used", "ignored", "must be"

// The row of `key`: nullptr where none fits.
const ConfigKey* find_key(std::span<const ConfigKey> keys, std::string_view key);

// Whether a key that no table knows might change the result: "attn_temperature", "logit_softcap".
bool could_matter(std::string_view key);

// Null, false, 0, an empty text, list or object: whatever the key is, it is switched off.
bool is_switched_off(const Json& value);

// Throws kUnsupported naming key and value where `value` is refused by `keys`, or by could_matter.
// `path` is what an error calls it.
void check_key(std::span<const ConfigKey> keys, std::string_view key, std::string_view path,
               const Json& value, std::string_view where);

// check_key for every member of an object.
void check_keys(std::span<const ConfigKey> keys, const Json& object, std::string_view where);

}  // namespace dak
