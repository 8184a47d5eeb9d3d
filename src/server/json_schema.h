// A JSON schema as a grammar: nodes that json_automaton.h follows byte by byte. The grammar is
// never wider than the schema: what it accepts is valid. It may be narrower: properties come in the
// schema's order, and only those that it names.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "server/api_error.h"
#include "text/chat_template.h"

namespace dak {

using NodeId = uint32_t;

struct JsonNode {
  enum class Kind : uint8_t {
    kAny,       // any value
    kObject,    // `names` and their `children`; without names any keys, each value children[0]
    kArray,     // of children[0], `least` to `most` items
    kString,    //
    kInteger,   //
    kNumber,    //
    kText,      // exactly one of `names`: literals, with their quotes if they are strings
    kOneOf,     // any of the children
    kSequence,  // one child after the other: not JSON as a whole
  };
  Kind kind = Kind::kAny;
  std::vector<NodeId> children;
  std::vector<std::string> names;  // kObject: keys as JSON strings, in order; kText: the literals
  std::vector<bool> required;      // kObject
  int64_t least = 0;
  int64_t most = INT64_MAX;
};

class JsonGrammar {
 public:
  // Any JSON object.
  static JsonGrammar object();
  // Throws ApiError (400) naming `param` and the part of the schema that it cannot express.
  static JsonGrammar of_schema(const OrderedJson& schema, std::string_view param);
  // Calls of one of `tools` (all, or the one named), as {"name": ..., KEY: {...}}, between `before`
  // and `after`.
  static JsonGrammar of_calls(const OrderedJson& tools, std::string_view name, std::string_view key,
                              std::string_view before, std::string_view after,
                              std::string_view param);

  const JsonNode& node(NodeId id) const { return nodes_[id]; }
  NodeId root() const { return root_; }

 private:
  friend class SchemaReader;

  std::vector<JsonNode> nodes_;
  NodeId root_ = 0;
};

}  // namespace dak
