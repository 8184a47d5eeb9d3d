#include "server/tools/tool_signatures.h"

#include <algorithm>

#include "base/error.h"
#include "base/json.h"
#include "server/json_text.h"
#include "server/tools/tag_match.h"

namespace dak {
namespace {

constexpr int kDeepestSchema = 32;

uint8_t type_named(std::string_view name) {
  if (name == "string") return kValueString;
  if (name == "integer" || name == "number") return kValueNumber;
  if (name == "boolean") return kValueBoolean;
  if (name == "null") return kValueNull;
  if (name == "object") return kValueObject;
  if (name == "array") return kValueArray;
  return kValueAny;
}

uint8_t type_of_value(const OrderedJson& value) {
  if (value.is_string()) return kValueString;
  if (value.is_number()) return kValueNumber;
  if (value.is_boolean()) return kValueBoolean;
  if (value.is_null()) return kValueNull;
  if (value.is_object()) return kValueObject;
  return kValueArray;
}

const OrderedJson* target_of(const OrderedJson& reference, const OrderedJson& root) {
  if (!reference.is_string()) return nullptr;
  const auto& text = reference.get_ref<const std::string&>();
  if (!text.starts_with('#')) return nullptr;
  try {
    return &root.at(OrderedJson::json_pointer(text.substr(1)));
  } catch (const OrderedJson::exception&) {
    return nullptr;
  }
}

// Words of a schema each leave some types; all of them hold.
uint8_t types_of(const OrderedJson& schema, const OrderedJson& root, int depth) {
  if (!schema.is_object() || depth > kDeepestSchema) return kValueAny;
  uint8_t types = kValueAny;
  const auto each = [&](const char* word, const auto& of) {
    const auto found = schema.find(word);
    if (found == schema.end() || !found->is_array() || found->empty()) return;
    uint8_t any = 0;
    for (const OrderedJson& one : *found) any |= of(one);
    types &= any;
  };
  if (const auto type = schema.find("type"); type != schema.end() && type->is_string()) {
    types &= type_named(type->get_ref<const std::string&>());
  }
  each("type", [](const OrderedJson& one) {
    return one.is_string() ? type_named(one.get_ref<const std::string&>()) : uint8_t{kValueAny};
  });
  each("enum", type_of_value);
  if (const auto fixed = schema.find("const"); fixed != schema.end())
    types &= type_of_value(*fixed);
  const auto part = [&](const OrderedJson& one) { return types_of(one, root, depth + 1); };
  each("anyOf", part);
  each("oneOf", part);
  if (const auto all = schema.find("allOf"); all != schema.end() && all->is_array()) {
    for (const OrderedJson& one : *all) types &= part(one);
  }
  if (const auto reference = schema.find("$ref"); reference != schema.end()) {
    if (const OrderedJson* target = target_of(*reference, root)) types &= part(*target);
  }
  return types;
}

bool same_word(std::string_view text, std::string_view word) {
  return std::ranges::equal(text, word, [](char a, char b) { return (a | 0x20) == b; });
}

}  // namespace

uint8_t types_of_schema(const OrderedJson& schema, const OrderedJson& root) {
  return types_of(schema, root, 0);
}

ToolSignatures::ToolSignatures(const OrderedJson& tools) {
  if (!tools.is_array()) return;
  for (const OrderedJson& tool : tools) {
    const OrderedJson& function = tool.at("function");
    auto& arguments = tools_[function.at("name").get<std::string>()];
    const auto parameters = function.find("parameters");
    if (parameters == function.end() || !parameters->is_object()) continue;
    const auto properties = parameters->find("properties");
    if (properties == parameters->end() || !properties->is_object()) continue;
    for (const auto& [key, schema] : properties->items()) {
      arguments[key] = types_of_schema(schema, *parameters);
    }
  }
}

uint8_t ToolSignatures::types(std::string_view tool, std::string_view argument) const {
  const auto found = tools_.find(tool);
  if (found == tools_.end()) return kValueAny;
  const auto types = found->second.find(argument);
  return types == found->second.end() ? uint8_t{kValueAny} : types->second;
}

std::string typed_value(std::string_view text, uint8_t types) {
  const std::string_view bare = trimmed(text);
  // Templates print these as Python does, and models learn it.
  if ((types & kValueBoolean) != 0 && same_word(bare, "true")) return "true";
  if ((types & kValueBoolean) != 0 && same_word(bare, "false")) return "false";
  if ((types & kValueNull) != 0 && (same_word(bare, "null") || same_word(bare, "none"))) {
    return "null";
  }
  const bool is_string = bare.empty() || bare.front() == '"';
  if (!is_string && OrderedJson::accept(bare)) {
    try {
      const Json value = parse_json(bare, "");  // its depth
      const bool fits = (value.is_number() && (types & kValueNumber) != 0) ||
                        (value.is_object() && (types & kValueObject) != 0) ||
                        (value.is_array() && (types & kValueArray) != 0);
      if (fits) return std::string(bare);
    } catch (const Error&) {
      return json_string(text);
    }
  }
  return json_string(text);
}

}  // namespace dak
