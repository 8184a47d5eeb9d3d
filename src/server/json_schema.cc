#include "server/json_schema.h"

#include <algorithm>
#include <numeric>

#include "server/schema/regex.h"
#include "server/schema/schema_reader.h"

namespace dak {

using Kind = JsonNode::Kind;

void JsonNode::sort_names() {
  if (kind == Kind::kText) {
    std::ranges::sort(names);
    names.erase(std::unique(names.begin(), names.end()), names.end());
  }
  sorted.resize(names.size());
  std::iota(sorted.begin(), sorted.end(), 0U);
  std::ranges::sort(sorted, {}, [this](uint32_t i) -> const std::string& { return names[i]; });
}

JsonGrammar::JsonGrammar() {
  // With an exponent of at most two digits, so that a double holds it.
  static const TextDfa kNumber =
      regex_dfa("^-?(?:0|[1-9]\\d{0,19})(?:\\.\\d{1,20})?(?:[eE][+-]?\\d{1,2})?$");
  texts_.push_back(*TextRule::make(kNumber, 0, TextRule::kNoLimit));
  JsonNode words{.kind = Kind::kText};
  words.names = {"true", "false", "null"};
  words.sort_names();
  nodes_.push_back(std::move(words));
  nodes_.push_back({.kind = Kind::kNumber, .text = 0});
}

std::vector<bool> JsonGrammar::prune(NodeId first) {
  std::vector<bool> have(nodes_.size());
  std::fill(have.begin(), have.begin() + first, true);
  for (bool changed = true; changed;) {
    changed = false;
    for (auto id = static_cast<NodeId>(nodes_.size()); id-- > first;) {
      if (have[id] || !has_text(nodes_[id], have)) continue;
      have[id] = changed = true;
    }
  }
  for (size_t id = first; id < nodes_.size(); ++id) {
    if (have[id]) narrow(nodes_[id], have);
  }
  return have;
}

bool JsonGrammar::has_text(const JsonNode& node, const std::vector<bool>& have) const {
  const auto has = [&have](NodeId id) { return have[id]; };
  switch (node.kind) {
    case Kind::kText:
      return !node.names.empty();
    case Kind::kOneOf:
      return std::ranges::any_of(node.children, has);
    case Kind::kSequence:
      return std::ranges::all_of(node.children, has);
    case Kind::kArray:
      if (node.unique && node.least > most_distinct(node.children[0])) return false;
      for (size_t i = 0; i < node.children.size(); ++i) {
        if (static_cast<int64_t>(i) < node.least && !has(node.children[i])) return false;
      }
      return true;
    case Kind::kObject: {
      if (node.names.empty()) {
        const bool keys = node.keys < 0 || has(static_cast<NodeId>(node.keys));
        return node.least == 0 || (keys && has(node.children[0]));
      }
      int64_t may = 0, must = 0;
      for (size_t i = 0; i < node.names.size(); ++i) {
        if (node.required[i] && !has(node.children[i])) return false;
        may += has(node.children[i]) ? 1 : 0;
        must += node.required[i] ? 1 : 0;
      }
      return may >= node.least && must <= node.most;
    }
    default:
      return true;
  }
}

void JsonGrammar::narrow(JsonNode& node, const std::vector<bool>& have) const {
  const auto lacks = [&have](NodeId id) { return !have[id]; };
  if (node.kind == Kind::kOneOf) {
    std::erase_if(node.children, lacks);
  } else if (node.kind == Kind::kArray) {
    const auto end = std::ranges::find_if(node.children, lacks);
    if (end != node.children.end()) {
      node.most = std::min<int64_t>(node.most, end - node.children.begin());
    }
    if (node.unique) node.most = std::min(node.most, most_distinct(node.children[0]));
  } else if (node.kind == Kind::kObject) {
    const bool free = node.names.empty();
    for (size_t i = node.names.size(); i-- > 0;) {
      if (have[node.children[i]]) continue;
      const auto at = static_cast<std::ptrdiff_t>(i);
      node.names.erase(node.names.begin() + at);
      node.children.erase(node.children.begin() + at);
      node.required.erase(node.required.begin() + at);
    }
    const bool nothing =
        free ? lacks(node.children[0]) || (node.keys >= 0 && lacks(static_cast<NodeId>(node.keys)))
             : node.names.empty();
    if (nothing) {
      node = {.kind = Kind::kText};
      node.names.emplace_back("{}");
    }
    node.sort_names();
  }
}

// How many different texts an item of a list without repetition has, or "many".
int64_t JsonGrammar::most_distinct(NodeId id) const {
  const JsonNode& node = nodes_[id];
  if (node.kind == Kind::kOneOf) return node.children.empty() ? 0 : most_distinct(node.children[0]);
  if (node.kind == Kind::kText) return static_cast<int64_t>(node.names.size());
  const TextRule* const rule = text(node);
  return rule == nullptr ? TextRule::kMany : rule->endings({});
}

JsonGrammar JsonGrammar::object() {
  return of_schema(OrderedJson{{"type", "object"}}, "response_format");
}

JsonGrammar JsonGrammar::of_schema(const OrderedJson& schema, std::string_view param) {
  JsonGrammar grammar;
  SchemaReader reader(grammar, schema, param);
  grammar.root_ = reader.read();
  return grammar;
}

}  // namespace dak
