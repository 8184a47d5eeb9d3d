#include "server/json_schema.h"

#include <algorithm>
#include <map>

namespace dak {
namespace {

constexpr size_t kMostNodes = 20000;
constexpr int kDeepest = 64;
constexpr size_t kMostAlternatives = 64;

// Words that say nothing about which values are valid.
constexpr std::string_view kNotes[] = {
    "$schema",  "$id",      "$defs",      "definitions", "title",    "description", "default",
    "examples", "$comment", "deprecated", "format",      "readOnly", "writeOnly"};

}  // namespace

// Makes nodes out of schemas; a part that is referred to is made once, so that it may refer to
// itself.
class SchemaReader {
 public:
  SchemaReader(JsonGrammar& grammar, const OrderedJson& root, std::string_view param)
      : grammar_(grammar), root_(root), param_(param) {}

  NodeId add(JsonNode node) {
    if (grammar_.nodes_.size() >= kMostNodes) fail("", "is too large");
    grammar_.nodes_.push_back(std::move(node));
    return static_cast<NodeId>(grammar_.nodes_.size() - 1);
  }
  NodeId literal(std::string text) {
    JsonNode node{.kind = JsonNode::Kind::kText};
    node.names.push_back(std::move(text));
    return add(std::move(node));
  }
  NodeId sequence(std::vector<NodeId> children) {
    return add({.kind = JsonNode::Kind::kSequence, .children = std::move(children)});
  }
  NodeId one_of(std::vector<NodeId> children) {
    return add({.kind = JsonNode::Kind::kOneOf, .children = std::move(children)});
  }

  NodeId read(const OrderedJson& schema, const std::string& path, int depth = 0) {
    if (depth > kDeepest) fail(path, "is nested too deeply");
    if (schema.is_boolean()) {
      if (!schema.get<bool>()) fail(path, "allows nothing");
      return add({});
    }
    if (!schema.is_object()) fail(path, "is no schema");
    if (schema.contains("$ref")) return reference(schema, path, depth);
    for (const char* word : {"anyOf", "allOf"}) {
      if (schema.contains(word)) return combined(schema, word, path, depth);
    }
    if (schema.contains("const")) return fixed(schema, "const", path);
    if (schema.contains("enum")) return fixed(schema, "enum", path);
    if (!schema.contains("type")) {
      if (schema.contains("properties")) return object(schema, path, depth);
      expect_only(schema, {}, path);
      return add({});
    }
    const OrderedJson& type = schema["type"];
    if (type.is_string()) return of_type(type.get<std::string>(), schema, path, depth);
    if (!type.is_array() || type.empty()) fail(path + "/type", "is neither a string nor an array");
    std::vector<NodeId> children;
    for (const OrderedJson& one : type) {
      if (!one.is_string()) fail(path + "/type", "holds other than strings");
      OrderedJson single = schema;
      // Words of one type mean nothing to the others.
      if (one != "object") {
        single.erase("properties");
        single.erase("required");
        single.erase("additionalProperties");
      }
      if (one != "array") {
        single.erase("items");
        single.erase("minItems");
        single.erase("maxItems");
      }
      children.push_back(of_type(one.get<std::string>(), single, path, depth));
    }
    return one_of(std::move(children));
  }

  // A loop without a byte in it would never end: anyOf of itself.
  void check_loops() const {
    std::vector<int> state(grammar_.nodes_.size());  // 1: being looked at, 2: fine
    for (NodeId id = 0; id < grammar_.nodes_.size(); ++id) look(id, state);
  }

  [[noreturn]] void fail(std::string_view path, std::string_view problem) const {
    throw ApiError(400,
                   fmt::format("the schema{} {}",
                               path.empty() ? "" : fmt::format(" at {}", printable(path)), problem),
                   param_, "unsupported");
  }

 private:
  void look(NodeId id, std::vector<int>& state) const {
    const JsonNode& node = grammar_.nodes_[id];
    const bool empty =
        node.kind == JsonNode::Kind::kOneOf || node.kind == JsonNode::Kind::kSequence;
    if (state[id] == 2 || !empty) return;
    if (state[id] == 1) fail("", "refers to itself without end");
    state[id] = 1;
    const size_t first = node.kind == JsonNode::Kind::kSequence ? 1 : node.children.size();
    for (size_t i = 0; i < first && i < node.children.size(); ++i) look(node.children[i], state);
    state[id] = 2;
  }

  void expect_only(const OrderedJson& schema, std::initializer_list<std::string_view> words,
                   const std::string& path) const {
    for (const auto& [key, value] : schema.items()) {
      const auto is_key = [&key = key](std::string_view word) { return word == key; };
      if (std::ranges::any_of(words, is_key) || std::ranges::any_of(kNotes, is_key)) continue;
      fail(fmt::format("{}/{}", path, key), "is a rule that dak cannot hold an answer to");
    }
  }

  NodeId reference(const OrderedJson& schema, const std::string& path, int depth) {
    if (!schema["$ref"].is_string()) fail(path + "/$ref", "is no string");
    const auto target = schema["$ref"].get<std::string>();
    expect_only(schema, {"$ref"}, path);
    if (const auto found = references_.find(target); found != references_.end())
      return found->second;
    if (!target.starts_with("#")) fail(path + "/$ref", "points elsewhere");
    const OrderedJson* found = &root_;
    try {
      found = &root_.at(OrderedJson::json_pointer(target.substr(1)));
    } catch (const OrderedJson::exception&) {
      fail(path + "/$ref", "points to nothing");
    }
    // A node that stands for what is still to be read.
    const NodeId id = one_of({});
    references_[target] = id;
    const NodeId made = read(*found, target, depth + 1);
    grammar_.nodes_[id].children.push_back(made);
    return id;
  }

  NodeId combined(const OrderedJson& schema, const char* word, const std::string& path, int depth) {
    expect_only(schema, {word, "type"}, path);
    const OrderedJson& parts = schema[word];
    if (!parts.is_array() || parts.empty()) fail(path + "/" + word, "is no array of schemas");
    if (std::string_view(word) == "allOf" && parts.size() > 1) {
      fail(path + "/allOf", "has more than one part, which dak cannot join");
    }
    if (parts.size() > kMostAlternatives) fail(path + "/" + word, "has too many parts");
    std::vector<NodeId> children;
    for (size_t i = 0; i < parts.size(); ++i) {
      children.push_back(read(parts[i], fmt::format("{}/{}/{}", path, word, i), depth + 1));
    }
    return one_of(std::move(children));
  }

  NodeId fixed(const OrderedJson& schema, const char* word, const std::string& path) {
    expect_only(schema, {word, "type"}, path);
    JsonNode node{.kind = JsonNode::Kind::kText};
    if (std::string_view(word) == "const") {
      node.names.push_back(schema[word].dump());
    } else {
      if (!schema[word].is_array() || schema[word].empty())
        fail(path + "/enum", "is no array of values");
      for (const OrderedJson& value : schema[word]) node.names.push_back(value.dump());
    }
    return add(std::move(node));
  }

  NodeId of_type(const std::string& type, const OrderedJson& schema, const std::string& path,
                 int depth) {
    using Kind = JsonNode::Kind;
    if (type == "object") return object(schema, path, depth);
    if (type == "array") return array(schema, path, depth);
    expect_only(schema, {"type"}, path);
    if (type == "string") return add({.kind = Kind::kString});
    if (type == "integer") return add({.kind = Kind::kInteger});
    if (type == "number") return add({.kind = Kind::kNumber});
    if (type == "boolean") {
      JsonNode node{.kind = Kind::kText};
      node.names = {"true", "false"};
      return add(std::move(node));
    }
    if (type == "null") return literal("null");
    fail(path + "/type", "is no type of JSON");
  }

  NodeId object(const OrderedJson& schema, const std::string& path, int depth) {
    expect_only(schema, {"type", "properties", "required", "additionalProperties"}, path);
    JsonNode node{.kind = JsonNode::Kind::kObject};
    const OrderedJson none = OrderedJson::object();
    const OrderedJson& properties = schema.contains("properties") ? schema["properties"] : none;
    if (!properties.is_object()) fail(path + "/properties", "is no object");
    for (const auto& [key, value] : properties.items()) {
      node.names.push_back(OrderedJson(key).dump());
      node.required.push_back(false);
      node.children.push_back(read(value, fmt::format("{}/properties/{}", path, key), depth + 1));
    }
    if (schema.contains("required")) {
      if (!schema["required"].is_array()) fail(path + "/required", "is no array");
      for (const OrderedJson& one : schema["required"]) {
        const auto found = std::ranges::find(node.names, one.dump());
        if (found == node.names.end()) fail(path + "/required", "names what is no property");
        node.required[static_cast<size_t>(found - node.names.begin())] = true;
      }
    }
    if (node.names.empty()) {
      const bool has = schema.contains("additionalProperties");
      if (has && schema["additionalProperties"] == false) return literal("{}");
      node.children.push_back(
          has ? read(schema["additionalProperties"], path + "/additionalProperties", depth + 1)
              : add({}));
    }
    return add(std::move(node));
  }

  NodeId array(const OrderedJson& schema, const std::string& path, int depth) {
    expect_only(schema, {"type", "items", "minItems", "maxItems"}, path);
    JsonNode node{.kind = JsonNode::Kind::kArray};
    const auto count = [&](const char* word, int64_t otherwise) {
      if (!schema.contains(word)) return otherwise;
      if (!schema[word].is_number_unsigned() || schema[word] > INT32_MAX)
        fail(path + "/" + word, "is no count");
      return schema[word].get<int64_t>();
    };
    node.least = count("minItems", 0);
    node.most = count("maxItems", INT64_MAX);
    if (node.least > node.most) fail(path, "has minItems above maxItems");
    node.children.push_back(
        schema.contains("items") ? read(schema["items"], path + "/items", depth + 1) : add({}));
    return add(std::move(node));
  }

  JsonGrammar& grammar_;
  const OrderedJson& root_;
  std::string param_;
  std::map<std::string, NodeId> references_;
};

JsonGrammar JsonGrammar::object() {
  return of_schema(OrderedJson{{"type", "object"}}, "response_format");
}

JsonGrammar JsonGrammar::of_schema(const OrderedJson& schema, std::string_view param) {
  JsonGrammar grammar;
  SchemaReader reader(grammar, schema, param);
  grammar.root_ = reader.read(schema, "");
  reader.check_loops();
  return grammar;
}

JsonGrammar JsonGrammar::of_calls(const OrderedJson& tools, std::string_view name,
                                  const CallForm& form, std::string_view param) {
  JsonGrammar grammar;
  std::vector<NodeId> calls;
  const bool alone = form.most == 0;
  for (const OrderedJson& tool : tools) {
    const OrderedJson& function = tool.at("function");
    if (!name.empty() && function.at("name") != name) continue;
    const OrderedJson any{{"type", "object"}};
    const OrderedJson& parameters = function.contains("parameters") ? function["parameters"] : any;
    SchemaReader reader(grammar, parameters, param);
    std::vector<NodeId> parts;
    parts.push_back(
        reader.literal(fmt::format("{}{{\"name\": {}, \"{}\": ", alone ? form.before : "",
                                   function.at("name").dump(), form.key)));
    parts.push_back(reader.read(parameters, ""));
    parts.push_back(reader.literal(fmt::format("}}{}", alone ? form.after : "")));
    calls.push_back(reader.sequence(std::move(parts)));
    reader.check_loops();
  }
  SchemaReader reader(grammar, tools, param);
  grammar.root_ = reader.one_of(std::move(calls));
  if (alone) return grammar;
  const NodeId list = reader.add(
      {.kind = JsonNode::Kind::kArray, .children = {grammar.root_}, .least = 1, .most = form.most});
  std::vector<NodeId> ways;
  for (const char* space : {"", " "}) {
    std::vector<NodeId> parts;
    const std::string before = fmt::format("{}{}", form.before, space);
    if (!before.empty()) parts.push_back(reader.literal(before));
    parts.push_back(list);
    if (!form.after.empty()) parts.push_back(reader.literal(std::string(form.after)));
    ways.push_back(reader.sequence(std::move(parts)));
  }
  grammar.root_ = reader.one_of(std::move(ways));
  return grammar;
}

}  // namespace dak
