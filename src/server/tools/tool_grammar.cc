#include "server/tools/tool_grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "server/schema/regex.h"
#include "server/schema/schema_reader.h"
#include "server/tools/tool_signatures.h"

namespace dak {
namespace {

using Texts = std::vector<std::string>;  // any of these

constexpr std::string_view kParam = "tools";

Texts joined(const Texts& a, const Texts& b) {
  Texts out;
  for (const std::string& first : a) {
    for (const std::string& second : b) out.push_back(first + second);
  }
  return out;
}

// Where models put white space around tags, and where they do not.
Texts gap() { return {"", "\n"}; }

Texts tag(std::string_view form) {
  Texts out = {""};
  for (const char c : form) {
    out = c == ' ' ? joined(out, {"", "\n", " "}) : joined(out, {std::string(1, c)});
  }
  return out;
}

// Bytes up to the first `end`, it included.
TextDfa up_to(std::string_view end) {
  TextDfa dfa;
  for (size_t state = 0; state < end.size(); ++state) {
    TextDfa::State& from = dfa.states.emplace_back();
    uint32_t first = 0;
    for (uint32_t byte = 0; byte <= 0xFF; ++byte) {
      uint32_t target = 0;
      const std::string seen = std::string(end.substr(0, state)) + static_cast<char>(byte);
      for (size_t length = std::min(seen.size(), end.size()); length > 0; --length) {
        if (!seen.ends_with(end.substr(0, length))) continue;
        target = static_cast<uint32_t>(length);
        break;
      }
      const bool code = static_cast<char>(byte) == SpecialMarks::kCode && target == 0;
      TextDfa::add_edge(from, first, byte, code ? TextDfa::kDead : target);
      first = byte + 1;
    }
    TextDfa::add_edge(from, first, kLastCodePoint, TextDfa::kDead);
  }
  dfa.states.push_back({.edges = {{.last = kLastCodePoint}}, .accepts = true});
  return dfa;
}

}  // namespace

// Makes the nodes of one grammar of calls.
class CallGrammar {
 public:
  CallGrammar(const ToolForm& form, const OrderedJson& tools, const SpecialMarks& marks)
      : form_(form), tools_(tools), marks_(marks), nodes_(grammar_, tools, kParam) {}

  JsonGrammar make(const WantedCalls& wanted) && {
    std::vector<NodeId> calls;
    for (const OrderedJson& tool : tools_) {
      const OrderedJson& function = tool.at("function");
      if (wanted.name.empty() || function.at("name") == wanted.name)
        calls.push_back(call(function));
    }
    const NodeId any = nodes_.one_of(std::move(calls));
    std::vector<NodeId> parts;
    if (!form_.begin.empty()) parts.push_back(texts(joined(tag(form_.begin), gap())));
    parts.push_back(list(any, wanted.several));
    if (!form_.end.empty()) parts.push_back(texts(joined(gap(), tag(form_.end))));
    grammar_.root_ = nodes_.sequence(std::move(parts));
    return std::move(grammar_);
  }

 private:
  NodeId texts(const Texts& any) {
    JsonNode node{.kind = JsonNode::Kind::kText};
    for (const std::string& text : any) node.names.push_back(marks_.coded(text));
    return nodes_.add(std::move(node));
  }

  NodeId by_rule(const TextDfa& dfa) {
    JsonNode node{.kind = JsonNode::Kind::kNumber};
    node.text = static_cast<int>(grammar_.texts_.size());
    grammar_.texts_.push_back(*TextRule::make(dfa, 0, TextRule::kNoLimit));
    return nodes_.add(std::move(node));
  }

  // One call, or that and, after what stands between, more.
  NodeId list(NodeId call, bool several) {
    if (!several) return call;
    const NodeId all = nodes_.one_of({call});
    const bool listed = !form_.between.empty();
    const NodeId between =
        texts(listed ? joined(tag(form_.between), {"", " ", "\n"}) : Texts{"\n"});
    std::vector<NodeId> longer = {nodes_.sequence({call, between, all})};
    if (!listed) longer.push_back(nodes_.sequence({call, all}));
    for (const NodeId one : longer) grammar_.nodes_[all].children.push_back(one);
    return all;
  }

  NodeId call(const OrderedJson& function) {
    switch (form_.style) {
      case ToolForm::Style::kObject:
        return object_call(function);
      case ToolForm::Style::kNamed:
        return named_call(function);
      case ToolForm::Style::kParameters:
        break;
    }
    return tagged_call(function);
  }

  static OrderedJson parameters_of(const OrderedJson& function) {
    const auto found = function.find("parameters");
    const bool given = found != function.end() && found->is_object();
    return given ? *found : OrderedJson{{"type", "object"}};
  }

  NodeId object_of(const OrderedJson& function) {
    const OrderedJson parameters = parameters_of(function);
    return SchemaReader(grammar_, parameters, kParam).read_object();
  }

  NodeId object_call(const OrderedJson& function) {
    const std::string name = function.at("name").dump();
    Texts before = {fmt::format("{{{}: ", name), fmt::format("{{{}:", name)};
    if (!form_.name_key.empty()) {
      before = {fmt::format(R"({{"{}": {}, "{}": )", form_.name_key, name, form_.arguments_key),
                fmt::format(R"({{"{}":{},"{}":)", form_.name_key, name, form_.arguments_key)};
    }
    if (!form_.open.empty()) before = joined(joined(tag(form_.open), gap()), before);
    Texts after = {"}"};
    if (!form_.close.empty()) after = joined(joined(after, gap()), tag(form_.close));
    return nodes_.sequence({texts(before), object_of(function), texts(after)});
  }

  // The arguments' JSON, and perhaps ids.
  NodeId named_call(const OrderedJson& function) {
    const std::string name =
        std::string(form_.name_prefix) + function.at("name").get<std::string>();
    const Texts after_name = joined(tag(form_.after_name), gap());
    std::vector<NodeId> parts;
    if (form_.id_before.empty()) {
      parts.push_back(texts(joined(tag(form_.open), {name})));
    } else {
      parts.push_back(texts(tag(form_.open)));
      parts.push_back(by_rule(regex_dfa("^[0-9A-Za-z]{9,24}$")));
      parts.push_back(texts(joined(tag(form_.id_before), {name})));
    }
    const NodeId without_id = texts(after_name);
    if (form_.id_after.empty()) {
      parts.push_back(without_id);
    } else {
      const char* id = form_.id_after == ":" ? "^[0-9]{1,3}$" : "^[0-9A-Za-z]{9}$";
      const NodeId with_id = nodes_.sequence(
          {texts({std::string(form_.id_after)}), by_rule(regex_dfa(id)), texts(after_name)});
      parts.push_back(nodes_.one_of({with_id, without_id}));
    }
    parts.push_back(object_of(function));
    if (!form_.close.empty()) parts.push_back(texts(joined(gap(), tag(form_.close))));
    return nodes_.sequence(std::move(parts));
  }

  // A value and the tag after it.
  NodeId tagged_value(const OrderedJson& schema, const OrderedJson& root) {
    const Texts line = form_.own_lines ? gap() : Texts{""};
    const Texts end = joined(line, tag(form_.parameter_end));
    const uint8_t types = types_of_schema(schema, root);
    if (schema.is_object() && types == kValueString) {
      const auto words = schema.find("enum");
      if (words != schema.end() && words->is_array()) {
        Texts any;
        for (const OrderedJson& word : *words) {
          if (word.is_string()) any.push_back(word.get<std::string>());
        }
        return texts(joined(joined(line, any), end));
      }
    }
    if ((types & kValueString) != 0) {
      return by_rule(up_to(marks_.coded(form_.parameter_end)));
    }
    OrderedJson whole = schema;
    for (const char* word : {"$defs", "definitions"}) {
      if (root.contains(word) && !whole.contains(word)) whole[word] = root.at(word);
    }
    const NodeId value = SchemaReader(grammar_, whole, kParam).read();
    if (!form_.own_lines) return nodes_.sequence({value, texts(end)});
    return nodes_.one_of({nodes_.sequence({texts({"\n"}), value, texts(end)}),
                          nodes_.sequence({value, texts(end)})});
  }

  // The arguments come in the schema's order; any of those up to the next that must come may.
  NodeId tagged_call(const OrderedJson& function) {
    const OrderedJson parameters = parameters_of(function);
    const OrderedJson none = OrderedJson::object();
    const auto found = parameters.find("properties");
    const OrderedJson& properties = found != parameters.end() && found->is_object() ? *found : none;
    const OrderedJson required = parameters.value("required", OrderedJson::array());
    std::vector<NodeId> next = {texts(joined(gap(), tag(form_.close)))};
    std::vector<std::pair<std::string, const OrderedJson*>> order;
    for (const auto& [key, schema] : properties.items()) order.emplace_back(key, &schema);
    for (auto one = order.rbegin(); one != order.rend(); ++one) {
      const auto& [key, schema] = *one;
      Texts written_key = {key};
      if (!form_.string_flag.empty()) {
        const bool string = (types_of_schema(*schema, parameters) & kValueString) != 0;
        written_key[0] += std::string(form_.string_flag) + (string ? "true" : "false");
      }
      const NodeId argument =
          nodes_.sequence({texts(joined(joined(joined(gap(), tag(form_.parameter)), written_key),
                                        tag(form_.after_key))),
                           tagged_value(*schema, parameters), nodes_.one_of(next)});
      const OrderedJson name = key;
      if (std::find(required.begin(), required.end(), name) != required.end()) next.clear();
      next.push_back(argument);
    }
    const std::string tool = function.at("name").get<std::string>();
    return nodes_.sequence({texts(joined(joined(tag(form_.open), {tool}), tag(form_.after_name))),
                            nodes_.one_of(std::move(next))});
  }

  const ToolForm& form_;
  const OrderedJson& tools_;
  const SpecialMarks& marks_;
  JsonGrammar grammar_;
  SchemaReader nodes_;
};

JsonGrammar grammar_of_calls(const ToolForm& form, const OrderedJson& tools,
                             const WantedCalls& wanted, const SpecialMarks& marks) {
  return CallGrammar(form, tools, marks).make(wanted);
}

}  // namespace dak
