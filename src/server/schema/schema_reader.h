// Makes nodes of a grammar out of schemas. Each conjunction of schemas is made once, so that a
// schema may refer to itself.
#pragma once

#include <deque>
#include <map>
#include <set>
#include <string>

#include "server/json_schema.h"
#include "server/schema/conjunction.h"

namespace dak {

class SchemaReader {
 public:
  // `schema` outlives this; `param`: the request's field that it is in.
  SchemaReader(JsonGrammar& grammar, const OrderedJson& schema, std::string_view param);

  NodeId add(JsonNode node);
  NodeId literal(std::string text);
  NodeId sequence(std::vector<NodeId> children);
  NodeId one_of(std::vector<NodeId> children);

  // The schema as a node. Throws ApiError (400) naming `param` and the part of the schema that dak
  // cannot hold an answer to, or that no value is valid to.
  NodeId read();
  NodeId read_object();  // held to be an object, whatever else it allows

 private:
  NodeId finished(NodeId first, NodeId root);
  NodeId node_of(const Conjunction& schemas);
  std::vector<NodeId> leaves(const Members& members, bool exactly);
  void add_values(const Members& members, const std::vector<const OrderedJson*>& values,
                  std::vector<NodeId>& out);
  void add_number(const Members& members, bool whole, std::vector<NodeId>& out);
  void add_string(const Members& members, std::vector<NodeId>& out);
  void add_array(const Members& members, std::vector<NodeId>& out);
  void add_object(const Members& members, std::vector<NodeId>& out);
  void add_free_object(const Members& members, JsonNode node, std::vector<NodeId>& out);
  bool add_names(const Members& members, JsonNode& node, std::vector<std::string>& keys);
  Conjunction of_property(const Members& members, const std::string& key);
  NodeId distinct_items(const Members& members, NodeId items);
  TextDfa joined(const OrderedJson& where, const TextDfa& a, const TextDfa& b);
  NodeId ruled(JsonNode::Kind kind, const OrderedJson& where, const TextDfa& dfa, uint32_t least,
               uint32_t most);
  // Notes the first part that no value is valid to, for the error if that is all of the schema.
  void conflict(const Members& members, std::string_view problem);
  const OrderedJson* own(OrderedJson schema);

  JsonGrammar& grammar_;
  const OrderedJson& schema_;
  SchemaSource source_;
  Conjunctions conjunctions_;
  std::map<std::pair<bool, Conjunction>, NodeId> known_;  // by whether it was loose
  std::map<std::string, NodeId> texts_;  // nodes of strings and numbers by their rules
  struct Overlap {
    NodeId node;  // values that two parts of a oneOf are valid for
    std::string path;
  };
  std::vector<Overlap> overlaps_;
  std::deque<OrderedJson> own_;
  std::string conflict_path_;
  std::string conflict_;
  int depth_ = 0;
};

}  // namespace dak
