#include "server/schema/schema_reader.h"

#include <fmt/format.h>

#include <algorithm>

namespace dak {
namespace {

constexpr size_t kMostNodes = 20'000;
constexpr int kDeepest = 128;
constexpr size_t kMostOverlaps = 256;  // pairs of a oneOf's parts that are looked at closely

}  // namespace

SchemaReader::SchemaReader(JsonGrammar& grammar, const OrderedJson& schema, std::string_view param)
    : grammar_(grammar), schema_(schema), source_(schema, param), conjunctions_(source_) {}

NodeId SchemaReader::add(JsonNode node) {
  if (grammar_.nodes_.size() >= kMostNodes) source_.fail_at("", "is too large");
  grammar_.nodes_.push_back(std::move(node));
  grammar_.nodes_.back().sort_names();
  return static_cast<NodeId>(grammar_.nodes_.size() - 1);
}

NodeId SchemaReader::literal(std::string text) {
  JsonNode node{.kind = JsonNode::Kind::kText};
  node.names.push_back(std::move(text));
  return add(std::move(node));
}

NodeId SchemaReader::sequence(std::vector<NodeId> children) {
  return add({.kind = JsonNode::Kind::kSequence, .children = std::move(children)});
}

NodeId SchemaReader::one_of(std::vector<NodeId> children) {
  return add({.kind = JsonNode::Kind::kOneOf, .children = std::move(children)});
}

const OrderedJson* SchemaReader::own(OrderedJson schema) {
  return &own_.emplace_back(std::move(schema));
}

void SchemaReader::conflict(const Members& members, std::string_view problem) {
  if (!conflict_.empty() || conjunctions_.loose()) return;
  conflict_path_ = members.empty() ? "" : source_.path(*members.front().schema);
  conflict_ = problem;
}

NodeId SchemaReader::read() {
  source_.enter(schema_, "");
  const auto first = static_cast<NodeId>(grammar_.nodes_.size());
  return finished(first, node_of({&schema_}));
}

NodeId SchemaReader::read_object() {
  source_.enter(schema_, "");
  const auto first = static_cast<NodeId>(grammar_.nodes_.size());
  return finished(first, node_of({&schema_, own({{"type", "object"}})}));
}

NodeId SchemaReader::finished(NodeId first, NodeId root) {
  const std::vector<bool> may_be = grammar_.prune(first);
  for (const Overlap& overlap : overlaps_) {
    if (may_be[overlap.node]) {
      source_.fail_at(overlap.path,
                      "has parts of which dak cannot tell that at most one is valid; use anyOf, or "
                      "give each part a property with a const of its own");
    }
  }
  if (!may_be[root]) {
    source_.fail_at(conflict_path_,
                    fmt::format("allows no value{}{}", conflict_.empty() ? "" : ": ", conflict_));
  }
  return root;
}

NodeId SchemaReader::node_of(const Conjunction& schemas) {
  Conjunction key = schemas;
  std::ranges::sort(key);
  key.erase(std::unique(key.begin(), key.end()), key.end());
  const bool loose = conjunctions_.loose();
  if (const auto found = known_.find({loose, key}); found != known_.end()) return found->second;
  // A node that stands for what is still to be read.
  const NodeId id = one_of({});
  known_[{loose, key}] = id;
  if (++depth_ > kDeepest) source_.fail(*schemas.front(), "is nested too deeply");
  std::vector<NodeId> children;
  const auto overlap = [this](const std::vector<Members>& ways, const std::string& path) {
    if (overlaps_.size() >= kMostOverlaps) source_.fail_at(path, "has too many parts alike");
    std::vector<NodeId> values;
    conjunctions_.set_loose(true);
    for (const Members& way : ways) {
      for (const NodeId leaf : leaves(way, false)) values.push_back(leaf);
    }
    conjunctions_.set_loose(false);
    overlaps_.push_back({one_of(std::move(values)), path});
  };
  const Members members = conjunctions_.members_of(schemas);
  const std::vector<Members> alternatives = conjunctions_.alternatives(
      members, loose ? Conjunctions::Overlap() : Conjunctions::Overlap(overlap));
  if (alternatives.empty()) conflict(members, "no type is allowed by all of its rules");
  for (const Members& alternative : alternatives) {
    for (const NodeId leaf : leaves(alternative, !loose)) children.push_back(leaf);
  }
  --depth_;
  grammar_.nodes_[id].children = std::move(children);
  return id;
}

std::vector<NodeId> SchemaReader::leaves(const Members& members, bool exactly) {
  std::vector<NodeId> out;
  if (const auto values = conjunctions_.values(members, exactly)) {
    add_values(members, *values, out);
    return out;
  }
  const uint8_t types = conjunctions_.types(members);
  if (types == 0) conflict(members, "no type is allowed by all of its rules");
  if (types == kAllTypes && Conjunctions::is_free(members)) {
    out.push_back(add({}));
    return out;
  }
  if ((types & kNullType) != 0) out.push_back(literal("null"));
  if ((types & kBooleanType) != 0) {
    JsonNode node{.kind = JsonNode::Kind::kText};
    node.names = {"true", "false"};
    out.push_back(add(std::move(node)));
  }
  if ((types & kIntegerType) != 0) add_number(members, (types & kFractionType) == 0, out);
  if ((types & kStringType) != 0) add_string(members, out);
  if ((types & kArrayType) != 0) add_array(members, out);
  if ((types & kObjectType) != 0) add_object(members, out);
  return out;
}

void SchemaReader::add_values(const Members& members, const std::vector<const OrderedJson*>& values,
                              std::vector<NodeId>& out) {
  if (values.empty()) {
    return conflict(members, "none of the values of enum or const is valid by its other rules");
  }
  JsonNode node{.kind = JsonNode::Kind::kText};
  for (const OrderedJson* value : values) node.names.push_back(value->dump());
  out.push_back(add(std::move(node)));
}

TextDfa SchemaReader::joined(const OrderedJson& where, const TextDfa& a, const TextDfa& b) {
  constexpr size_t kMostStates = 4'000;
  auto dfa = both(a, b, kMostStates);
  if (!dfa) source_.fail(where, "has patterns that are too large together");
  return std::move(*dfa);
}

NodeId SchemaReader::ruled(JsonNode::Kind kind, const OrderedJson& where, const TextDfa& dfa,
                           uint32_t least, uint32_t most) {
  auto rule = TextRule::make(dfa, least, most);
  if (!rule) source_.fail(where, "has a pattern and lengths that are too large together");
  JsonNode node{.kind = kind};
  if (rule->empty()) {
    node.kind = JsonNode::Kind::kOneOf;  // of nothing
  } else {
    node.text = static_cast<int>(grammar_.texts_.size());
    grammar_.texts_.push_back(std::move(*rule));
  }
  return add(std::move(node));
}

}  // namespace dak
