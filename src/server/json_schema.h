// A JSON schema as a grammar: nodes that json_automaton.h follows byte by byte. The grammar is
// never wider than the schema: what it accepts is valid. It may be narrower: properties come in the
// schema's order, and only those that it names; integers are those of 64 bits. schema/ reads the
// schema.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "server/api_error.h"
#include "server/schema/text_dfa.h"
#include "text/chat_template.h"

namespace dak {

using NodeId = uint32_t;

struct JsonNode {
  enum class Kind : uint8_t {
    kAny,       // any value
    kObject,    // `names` and their `children`; without names any keys, each value children[0]
    kArray,     // `least` to `most` items, the i-th of children[i], the last child for all others
    kString,    // that the rule holds for, if there is one
    kNumber,    // whose digits the rule holds for
    kText,      // exactly one of `names`: literals, with their quotes if they are strings
    kOneOf,     // any of the children
    kSequence,  // one child after the other: not JSON as a whole
  };
  Kind kind = Kind::kAny;
  std::vector<NodeId> children;
  std::vector<std::string> names;  // kObject: keys as JSON strings, in order; kText: the literals
  std::vector<bool> required;      // kObject
  int64_t least = 0;               // kArray: items; kObject: properties
  int64_t most = INT64_MAX;
  int text = -1;        // kString, kNumber: the rule, by number; -1: none
  int64_t keys = -1;    // kObject without names: the node of a key; -1: any
  bool unique = false;  // kArray: no two items are equal; a child is kText, or text by a rule
  std::vector<uint32_t> sorted{};  // `names` by number in order of their bytes

  // Orders `sorted`; literals that come twice are one.
  void sort_names();
};

class JsonGrammar {
 public:
  // Any JSON object.
  static JsonGrammar object();
  // Throws ApiError (400) naming `param` and the part of the schema that it cannot express.
  static JsonGrammar of_schema(const OrderedJson& schema, std::string_view param);

  const JsonNode& node(NodeId id) const { return nodes_[id]; }
  // nullptr where `node` has no rule.
  const TextRule* text(const JsonNode& node) const {
    return node.text < 0 ? nullptr : &texts_[static_cast<size_t>(node.text)];
  }
  NodeId root() const { return root_; }
  // Nodes that kAny stands for too.
  static constexpr NodeId words() { return 0; }   // true, false and null
  static constexpr NodeId number() { return 1; }  // any

 private:
  friend class SchemaReader;
  friend class CallGrammar;

  JsonGrammar();

  // Leaves out of the nodes from `first` on what can never come to an end, such as an object that
  // must hold one of its own kind. Says which nodes have any text.
  std::vector<bool> prune(NodeId first);
  bool has_text(const JsonNode& node, const std::vector<bool>& have) const;
  void narrow(JsonNode& node, const std::vector<bool>& have) const;
  int64_t most_distinct(NodeId id) const;

  std::vector<JsonNode> nodes_;
  std::vector<TextRule> texts_;
  NodeId root_ = 0;
};

}  // namespace dak
