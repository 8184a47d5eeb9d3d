#include "server/schema/schema_source.h"

#include <fmt/format.h>

#include <algorithm>

#include "server/api_error.h"
#include "server/schema/regex.h"

namespace dak {
namespace {

enum class Is : uint8_t {
  kString,
  kNumber,
  kMultiple,  // a number above 0
  kBound,     // a number; draft 4: a boolean
  kCount,
  kBoolean,
  kSchema,
  kSchemas,
  kSchemaMap,
  kItems,  // a schema; drafts before 2020: an array of schemas
  kStrings,
  kType,
  kValues,
  kAny
};

struct Word {
  std::string_view name;
  Is value;
};

// Rules, and what their values are.
constexpr Word kRules[] = {
    {"$ref", Is::kString},
    {"allOf", Is::kSchemas},
    {"anyOf", Is::kSchemas},
    {"oneOf", Is::kSchemas},
    {"type", Is::kType},
    {"enum", Is::kValues},
    {"const", Is::kAny},
    {"properties", Is::kSchemaMap},
    {"patternProperties", Is::kSchemaMap},
    {"additionalProperties", Is::kSchema},
    {"propertyNames", Is::kSchema},
    {"required", Is::kStrings},
    {"minProperties", Is::kCount},
    {"maxProperties", Is::kCount},
    {"items", Is::kItems},
    {"prefixItems", Is::kSchemas},
    {"additionalItems", Is::kSchema},
    {"minItems", Is::kCount},
    {"maxItems", Is::kCount},
    {"uniqueItems", Is::kBoolean},
    {"minLength", Is::kCount},
    {"maxLength", Is::kCount},
    {"pattern", Is::kString},
    {"format", Is::kString},
    {"minimum", Is::kNumber},
    {"maximum", Is::kNumber},
    {"exclusiveMinimum", Is::kBound},
    {"exclusiveMaximum", Is::kBound},
    {"multipleOf", Is::kMultiple},
};

// Words that say nothing about which values are valid, and those that begin with "x-". `nullable`
// is OpenAPI's: validators of JSON Schema do not know it, so that a null would be invalid to them.
constexpr std::string_view kNotes[] = {"$schema",
                                       "$id",
                                       "$anchor",
                                       "$comment",
                                       "$vocabulary",
                                       "$defs",
                                       "definitions",
                                       "title",
                                       "description",
                                       "default",
                                       "example",
                                       "examples",
                                       "deprecated",
                                       "readOnly",
                                       "writeOnly",
                                       "strict",
                                       "contentEncoding",
                                       "contentSchema",
                                       "nullable",
                                       "contentMediaType",
                                       "discriminator",
                                       "xml",
                                       "externalDocs",
                                       "enumNames",
                                       "enumDescriptions",
                                       "errorMessage",
                                       "markdownDescription"};

constexpr std::string_view kRefused[] = {"not",
                                         "if",
                                         "then",
                                         "else",
                                         "contains",
                                         "minContains",
                                         "maxContains",
                                         "dependentRequired",
                                         "dependencies",
                                         "$dynamicRef",
                                         "$recursiveRef",
                                         "dependentSchemas",
                                         "$dynamicAnchor",
                                         "unevaluatedItems",
                                         "unevaluatedProperties",
                                         "$recursiveAnchor"};

constexpr std::string_view kTypes[] = {"null",   "boolean", "integer", "number",
                                       "string", "array",   "object"};

bool is_type(const OrderedJson& value) {
  return std::ranges::any_of(kTypes, [&value](std::string_view name) { return value == name; });
}

bool is_schema(const OrderedJson& value) { return value.is_object() || value.is_boolean(); }

// What is wrong with a rule's value; empty: nothing.
std::string_view fault(const OrderedJson& value, Is wanted) {
  const auto all = [&value](auto what) { return std::ranges::all_of(value, what); };
  const auto is_string = [](const OrderedJson& one) { return one.is_string(); };
  switch (wanted) {
    case Is::kString:
      return value.is_string() ? "" : "is no string";
    case Is::kNumber:
      return value.is_number() ? "" : "is no number";
    case Is::kBoolean:
      return value.is_boolean() ? "" : "is neither true nor false";
    case Is::kMultiple:
      return value.is_number() && value > 0 ? "" : "is no number above 0";
    case Is::kBound:
      return value.is_number() || value.is_boolean() ? "" : "is no number";
    case Is::kCount:
      return value.is_number() && value >= 0 && value <= INT32_MAX &&
                     value.get<double>() == static_cast<double>(value.get<int64_t>())
                 ? ""
                 : "is no count";
    case Is::kSchema:
      return is_schema(value) ? "" : "is no schema";
    case Is::kSchemas:
      return value.is_array() && !value.empty() && all(is_schema) ? "" : "is no array of schemas";
    case Is::kSchemaMap:
      return value.is_object() && all(is_schema) ? "" : "is no object of schemas";
    case Is::kStrings:
      return value.is_array() && all(is_string) ? "" : "is no array of strings";
    case Is::kItems:
      return is_schema(value) || (value.is_array() && all(is_schema)) ? "" : "is no schema";
    case Is::kType:
      return is_type(value) || (value.is_array() && !value.empty() && all(is_type))
                 ? ""
                 : "is no type of JSON";
    case Is::kValues:
      return value.is_array() && !value.empty() ? "" : "is no array of values";
    case Is::kAny:
      break;
  }
  return "";
}

std::string escaped(std::string_view key) {
  std::string out;
  for (const char c : key) {
    if (c == '~') {
      out += "~0";
    } else if (c == '/') {
      out += "~1";
    } else {
      out += c;
    }
  }
  return out;
}

// The fragment of a URI with its %XX as bytes.
std::string percent_decoded(std::string_view text) {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'                     ? c - '0'
           : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                    : -1;
  };
  std::string out;
  for (size_t at = 0; at < text.size(); ++at) {
    const bool coded = text[at] == '%' && at + 2 < text.size() && digit(text[at + 1]) >= 0 &&
                       digit(text[at + 2]) >= 0;
    out += coded ? static_cast<char>(digit(text[at + 1]) << 4 | digit(text[at + 2])) : text[at];
    if (coded) at += 2;
  }
  return out;
}

}  // namespace

void SchemaSource::enter(const OrderedJson& schema, const std::string& path) {
  if (!paths_.try_emplace(&schema, path).second || schema.is_boolean()) return;
  if (!schema.is_object()) fail_at(path, "is no schema");
  check_words(schema, path);
}

void SchemaSource::check_words(const OrderedJson& schema, const std::string& path) const {
  for (const auto& [key, value] : schema.items()) {
    const std::string at = fmt::format("{}/{}", path, escaped(key));
    const auto* const rule =
        std::ranges::find_if(kRules, [&key = key](const Word& word) { return word.name == key; });
    if (rule != std::end(kRules)) {
      const std::string_view problem = fault(value, rule->value);
      if (!problem.empty()) fail_at(at, problem);
      continue;
    }
    const auto is_key = [&key = key](std::string_view word) { return word == key; };
    // What is beneath it would refer to another root.
    const bool inner_root = key == "$id" && !path.empty() && path != "#";
    if (inner_root && value.is_string() && !value.get<std::string>().starts_with('#')) {
      fail_at(at, "gives a part of the schema a name of its own, which dak does not follow");
    }
    if (std::ranges::any_of(kNotes, is_key) || key.starts_with("x-")) continue;
    if (std::ranges::any_of(kRefused, is_key)) {
      if (key.starts_with("unevaluated") && value == true) continue;
      fail_at(at, "is a rule that dak cannot hold an answer to");
    }
    fail_at(at, "is no keyword that dak knows; a note of your own begins with \"x-\"");
  }
}

const OrderedJson& SchemaSource::part(const OrderedJson& schema, std::string_view word) {
  const OrderedJson& child = schema.at(word);
  enter(child, fmt::format("{}/{}", path(schema), word));
  return child;
}

const OrderedJson& SchemaSource::part(const OrderedJson& schema, std::string_view word,
                                      size_t index) {
  const OrderedJson& child = schema.at(word).at(index);
  enter(child, fmt::format("{}/{}/{}", path(schema), word, index));
  return child;
}

const OrderedJson& SchemaSource::part(const OrderedJson& schema, std::string_view word,
                                      std::string_view key) {
  const OrderedJson& child = schema.at(word).at(key);
  enter(child, fmt::format("{}/{}/{}", path(schema), word, escaped(key)));
  return child;
}

const OrderedJson& SchemaSource::target(const OrderedJson& schema) {
  const auto reference = schema.at("$ref").get<std::string>();
  const std::string at = path(schema) + "/$ref";
  if (!reference.starts_with('#')) fail_at(at, "points out of the schema");
  const std::string pointer = percent_decoded(std::string_view(reference).substr(1));
  const OrderedJson* found = nullptr;
  try {
    found = &root_.at(OrderedJson::json_pointer(pointer));
  } catch (const OrderedJson::exception&) {
    fail_at(at, "points to nothing");
  }
  enter(*found, pointer);
  return *found;
}

std::string SchemaSource::path(const OrderedJson& schema) const {
  const auto found = paths_.find(&schema);
  return found == paths_.end() ? std::string() : found->second;
}

void SchemaSource::fail(const OrderedJson& schema, std::string_view problem) const {
  fail_at(path(schema), problem);
}

void SchemaSource::fail_at(std::string_view path, std::string_view problem) const {
  throw ApiError(400,
                 fmt::format("the schema{} {}",
                             path.empty() ? "" : fmt::format(" at {}", printable(path)), problem),
                 param_, "unsupported");
}

const TextDfa& SchemaSource::pattern(const OrderedJson& schema, std::string_view word,
                                     const std::string& pattern, bool widest) {
  const auto found = patterns_.find({pattern, widest});
  if (found != patterns_.end()) return found->second;
  try {
    return patterns_.emplace(std::pair(pattern, widest), regex_dfa(pattern, widest)).first->second;
  } catch (const RegexError& error) {
    fail_at(fmt::format("{}/{}", path(schema), word),
            fmt::format("has a pattern that {}: {}", error.what(), printable(pattern)));
  }
}

std::optional<uint32_t> SchemaSource::count(const OrderedJson& schema,
                                            std::string_view word) const {
  const auto found = schema.find(word);
  if (found == schema.end()) return {};
  return static_cast<uint32_t>(found->get<int64_t>());
}

}  // namespace dak
