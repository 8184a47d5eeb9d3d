// Rules of members for objects as nodes.
#include <fmt/format.h>

#include <algorithm>

#include "server/schema/schema_check.h"
#include "server/schema/schema_reader.h"

namespace dak {
void SchemaReader::add_object(const Members& members, std::vector<NodeId>& out) {
  JsonNode node{.kind = JsonNode::Kind::kObject};
  int64_t least = 0;
  for (const Member& member : members) {
    least = std::max<int64_t>(least, source_.count(*member.schema, "minProperties").value_or(0));
    if (const auto most = source_.count(*member.schema, "maxProperties")) {
      node.most = std::min<int64_t>(node.most, *most);
    }
  }
  node.least = conjunctions_.loose() ? 0 : least;
  if (node.least > node.most) return conflict(members, "minProperties is above maxProperties");
  std::vector<std::string> keys;
  if (!add_names(members, node, keys)) {
    return conflict(members, "it requires a property that its other rules do not name");
  }
  if (keys.empty()) return add_free_object(members, std::move(node), out);
  for (const std::string& key : keys) node.children.push_back(node_of(of_property(members, key)));
  out.push_back(add(std::move(node)));
}

// Keys in order, and which of them are required. False where one is required that none may be.
bool SchemaReader::add_names(const Members& members, JsonNode& node,
                             std::vector<std::string>& keys) {
  const auto add_key = [&](const std::string& key) {
    if (std::ranges::find(keys, key) == keys.end()) keys.push_back(key);
  };
  for (const bool outside : {false, true}) {
    if (outside && !keys.empty()) break;
    for (const Member& member : members) {
      const OrderedJson* const properties = rule_of(member, "properties");
      if (member.outside != outside || properties == nullptr) continue;
      for (const auto& [key, value] : properties->items()) add_key(key);
    }
    for (const Member& member : members) {
      const OrderedJson* const required = rule_of(member, "required");
      if (member.outside != outside || required == nullptr) continue;
      for (const OrderedJson& key : *required) add_key(key.get<std::string>());
    }
  }
  node.required.assign(keys.size(), false);
  for (const Member& member : members) {
    const OrderedJson* const required = rule_of(member, "required");
    if (required == nullptr) continue;
    for (const OrderedJson& key : *required) {
      const auto found = std::ranges::find(keys, key.get<std::string>());
      if (found == keys.end()) return false;
      node.required[static_cast<size_t>(found - keys.begin())] = true;
    }
  }
  for (const std::string& key : keys) node.names.push_back(OrderedJson(key).dump());
  return true;
}

// What the value of a key must be valid to.
Conjunction SchemaReader::of_property(const Members& members, const std::string& key) {
  Conjunction all;
  for (const Member& member : members) {
    const OrderedJson& schema = *member.schema;
    const OrderedJson* const properties = rule_of(member, "properties");
    bool named = properties != nullptr && properties->contains(key);
    if (named) all.push_back(&source_.part(schema, "properties", key));
    if (const OrderedJson* const patterns = rule_of(member, "patternProperties")) {
      for (const auto& [pattern, value] : patterns->items()) {
        const auto rule = TextRule::make(source_.pattern(schema, "patternProperties", pattern), 0,
                                         TextRule::kNoLimit);
        if (!rule || !rule->accepts(key)) continue;
        named = true;
        all.push_back(&source_.part(schema, "patternProperties", pattern));
      }
    }
    if (!named && rule_of(member, "additionalProperties") != nullptr) {
      all.push_back(&source_.part(schema, "additionalProperties"));
    }
    if (rule_of(member, "propertyNames") != nullptr &&
        !holds(source_, source_.part(schema, "propertyNames"), OrderedJson(key))) {
      all.push_back(own(false));
    }
  }
  return all;
}

// Any keys: no member names one.
void SchemaReader::add_free_object(const Members& members, JsonNode node,
                                   std::vector<NodeId>& out) {
  if (node.least > 1) {
    // A key may come twice, and is one property then.
    source_.fail(
        *members.front().schema,
        "has minProperties above 1 without properties, which dak cannot hold an answer to");
  }
  Conjunction keys, values;
  std::optional<std::string> pattern;
  for (const Member& member : members) {
    const OrderedJson* const patterns = rule_of(member, "patternProperties");
    if (patterns == nullptr) continue;
    for (const auto& [one, value] : patterns->items()) {
      if (pattern && *pattern != one) {
        source_.fail(*member.schema,
                     "has more than one pattern of patternProperties, which dak cannot "
                     "hold together");
      }
      pattern = one;
      source_.pattern(*member.schema, "patternProperties", one);
    }
  }
  for (const Member& member : members) {
    const OrderedJson* const patterns = rule_of(member, "patternProperties");
    if (patterns != nullptr && !patterns->empty()) {
      values.push_back(&source_.part(*member.schema, "patternProperties", *pattern));
    } else if (rule_of(member, "additionalProperties") != nullptr) {
      values.push_back(&source_.part(*member.schema, "additionalProperties"));
    }
    if (rule_of(member, "propertyNames") != nullptr) {
      keys.push_back(&source_.part(*member.schema, "propertyNames"));
    }
  }
  if (pattern) keys.push_back(own({{"pattern", *pattern}}));
  node.children.push_back(node_of(values));
  if (!keys.empty()) {
    keys.push_back(own({{"type", "string"}}));
    node.keys = static_cast<int64_t>(node_of(keys));
  }
  out.push_back(add(std::move(node)));
}

}  // namespace dak
