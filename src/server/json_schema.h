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

// How a model writes calls of tools.
struct CallForm {
  std::string_view key;  // of a call's arguments
  std::string_view before;
  std::string_view after;
  int64_t most = 0;  // 0: one call alone; else a list of 1 to so many, after a space or not
};

class JsonGrammar {
 public:
  // Any JSON object.
  static JsonGrammar object();
  // Throws ApiError (400) naming `param` and the part of the schema that it cannot express.
  static JsonGrammar of_schema(const OrderedJson& schema, std::string_view param);
  // Calls of one of `tools` (all, or the one named), each {"name": ..., KEY: {...}}.
  static JsonGrammar of_calls(const OrderedJson& tools, std::string_view name, const CallForm& form,
                              std::string_view param);

  const JsonNode& node(NodeId id) const { return nodes_[id]; }
  NodeId root() const { return root_; }

 private:
  friend class SchemaReader;

  std::vector<JsonNode> nodes_;
  NodeId root_ = 0;
};

}  // namespace dak
