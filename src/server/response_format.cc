#include "server/response_format.h"

#include <algorithm>

#include "base/json.h"
#include "server/request_body.h"

namespace dak {
namespace {

// Read, then refused.
constexpr std::string_view kFields[] = {"response_format",
                                        "guided_json",
                                        "json_schema",
                                        "structured_outputs",
                                        "guided_choice",
                                        "guided_regex",
                                        "guided_grammar",
                                        "guided_decoding_backend",
                                        "guided_whitespace_pattern",
                                        "structural_tag",
                                        "grammar",
                                        "regex",
                                        "ebnf"};
constexpr size_t kRead = 4;

// A member that is null is absent.
void expect_members(const JsonField& field, std::initializer_list<std::string_view> known) {
  if (!field.value().is_object()) field.corrupt("must be an object");
  for (const auto& [key, member] : field.value().items()) {
    if (member.is_null() || std::ranges::find(known, key) != known.end()) continue;
    field.at(key).unsupported("dak does not know this member");
  }
}

ResponseFormat any_object() {
  ResponseFormat format;
  format.kind = ResponseFormat::Kind::kJsonObject;
  return format;
}

ResponseFormat of_schema(const JsonField& field, const OrderedJson& ordered) {
  if (!field.value().is_object()) field.corrupt("must be an object: a JSON schema");
  ResponseFormat format;
  format.kind = ResponseFormat::Kind::kJsonSchema;
  format.schema = ordered;
  format.param = field.path();
  return format;
}

// As vLLM takes it: a schema, or its text.
ResponseFormat of_schema_or_text(const JsonField& field, const OrderedJson& ordered) {
  if (!field.value().is_string()) return of_schema(field, ordered);
  const std::string text = field.string();
  try {
    const Json schema = parse_json(text, "");
    return of_schema(JsonField(schema, field.path(), field.where()), parse_ordered(text));
  } catch (const Error&) {
    field.corrupt("is no text of a JSON schema");
  }
}

// {"type": ..., ...}
ResponseFormat of_type(const JsonField& field, const OrderedJson& ordered) {
  const std::string type = field.at("type").string();
  if (type == "text") {
    expect_members(field, {"type"});
    return {};
  }
  if (type == "json_object") {
    expect_members(field, {"type", "schema"});
    const auto schema = field.find("schema");
    return schema ? of_schema(*schema, ordered.at("schema")) : any_object();
  }
  if (type != "json_schema") {
    field.at("type").corrupt("is none of text, json_object and json_schema");
  }
  expect_members(field, {"type", "json_schema", "schema"});
  const auto schema = field.find("schema");  // llama.cpp's form
  if (schema && field.find("json_schema")) {
    schema->corrupt("is given twice", "omit it or json_schema");
  }
  if (schema) return of_schema(*schema, ordered.at("schema"));
  const JsonField inner = field.at("json_schema");
  expect_members(inner, {"name", "description", "schema", "strict"});
  for (const char* const note : {"name", "description"}) {
    if (const auto text = inner.find(note)) text->string();
  }
  inner.boolean_or("strict", true);  // an answer is held to the schema either way
  return of_schema(inner.at("schema"), ordered.at("json_schema").at("schema"));
}

// As newer versions of vLLM have it.
ResponseFormat of_structured(const JsonField& field, const OrderedJson& ordered) {
  expect_members(field, {"json", "json_object"});
  if (const auto schema = field.find("json")) return of_schema_or_text(*schema, ordered.at("json"));
  return field.boolean_or("json_object", false) ? any_object() : ResponseFormat{};
}

}  // namespace

std::span<const std::string_view> format_fields() { return kFields; }

ResponseFormat response_format_of(const JsonField& body, const OrderedJson& ordered) {
  for (const std::string_view name : format_fields().subspan(kRead)) {
    if (const auto field = body.find(name)) {
      field->unsupported("is a format that dak does not have", "give a schema in response_format");
    }
  }
  ResponseFormat format;
  std::string_view taken;
  for (const std::string_view name : format_fields().first(kRead)) {
    const auto field = body.find(name);
    if (!field) continue;
    const OrderedJson& in_order = ordered.at(name);
    const ResponseFormat one = name == "response_format"      ? of_type(*field, in_order)
                               : name == "structured_outputs" ? of_structured(*field, in_order)
                                                              : of_schema_or_text(*field, in_order);
    if (one.kind == ResponseFormat::Kind::kText) continue;
    if (!taken.empty()) {
      field->corrupt(fmt::format("is a second format, beside {}", taken), "give one of them");
    }
    taken = name;
    format = one;
  }
  return format;
}

}  // namespace dak
