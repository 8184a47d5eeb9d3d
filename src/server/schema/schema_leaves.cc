// Rules of members as nodes, one for each type of value.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "server/schema/decimal.h"
#include "server/schema/regex.h"
#include "server/schema/schema_check.h"
#include "server/schema/schema_reader.h"
#include "server/schema/text_formats.h"

namespace dak {
namespace {

using Kind = JsonNode::Kind;

constexpr int64_t kMostMultiple = 1000;
constexpr size_t kMostPrefix = 1000;
constexpr size_t kMostDistinct = 64;

struct Bound {
  Decimal value;
  bool exclusive = false;
};

// The shortest digits that mean this double.
Decimal value_of(const OrderedJson& number) {
  return decimal_of(number.is_number_float() ? fmt::format("{}", number.get<double>())
                                             : number.dump());
}

void add_bounds(const Member& member, std::string_view plain, std::string_view exclusive,
                std::vector<Bound>& out) {
  const OrderedJson* const strict = rule_of(member, exclusive);
  if (strict != nullptr && strict->is_number()) out.push_back({value_of(*strict), true});
  const OrderedJson* const bound = rule_of(member, plain);
  // In draft 4 the exclusive word is true or false.
  if (bound != nullptr) out.push_back({value_of(*bound), strict != nullptr && *strict == true});
}

// Digits of a bound before the point.
int whole_digits(const Decimal& number) {
  int digits = number.exponent;
  for (Int128 left = number.digits; left != 0; left /= 10) ++digits;
  return std::max(digits, 1);
}

bool has_point(const TextDfa& dfa) {
  for (uint32_t state = 0; state < dfa.states.size(); ++state) {
    if (dfa.next(state, '.') != TextDfa::kDead) return true;
  }
  return false;
}

// The largest of the smallest counts, or the smallest of the largest.
uint32_t least_of(SchemaSource& source, const Members& members, std::string_view word) {
  uint32_t least = 0;
  for (const Member& one : members)
    least = std::max(least, source.count(*one.schema, word).value_or(0));
  return least;
}
uint32_t most_of(SchemaSource& source, const Members& members, std::string_view word) {
  uint32_t most = TextRule::kNoLimit;
  for (const Member& one : members) {
    most = std::min(most, source.count(*one.schema, word).value_or(TextRule::kNoLimit));
  }
  return most;
}

}  // namespace

void SchemaReader::add_number(const Members& members, bool whole, std::vector<NodeId>& out) {
  std::vector<Bound> lows, highs;
  DecimalRange range;
  for (const Member& member : members) {
    add_bounds(member, "minimum", "exclusiveMinimum", lows);
    add_bounds(member, "maximum", "exclusiveMaximum", highs);
    const OrderedJson* const multiple = rule_of(member, "multipleOf");
    if (multiple == nullptr) continue;
    if (!is_of_type(*multiple, "integer") || *multiple > kMostMultiple) {
      source_.fail_at(source_.path(*member.schema) + "/multipleOf",
                      fmt::format("is no whole number up to {}", kMostMultiple));
    }
    range.multiple = std::lcm(range.multiple, multiple->get<int64_t>());
    whole = true;
  }
  if (range.multiple > kMostMultiple) {
    source_.fail(*members.front().schema, "has a multipleOf that is too large with the others");
  }
  const OrderedJson& where = *members.front().schema;
  if (!whole && lows.empty() && highs.empty()) {
    out.push_back(JsonGrammar::number());
    return;
  }
  // So few places that every number of so many digits is a double of its own: one that is inside
  // an exclusive bound is so to a reader of doubles.
  int digits = 1;
  for (const auto* bounds : {&lows, &highs}) {
    for (const Bound& bound : *bounds) digits = std::max(digits, whole_digits(bound.value));
  }
  range.places = whole ? 0 : std::max(0, DecimalRange::kMostPlaces - digits);
  // Whole numbers are those of 64 bits, which is what readers have room for.
  range.low =
      lower_bound_of(decimal_of(whole ? "-9223372036854775808" : "-1e20"), range.places, false);
  range.high =
      upper_bound_of(decimal_of(whole ? "9223372036854775807" : "1e20"), range.places, false);
  for (const Bound& low : lows) {
    range.low = std::max(range.low, lower_bound_of(low.value, range.places, low.exclusive));
  }
  for (const Bound& high : highs) {
    range.high = std::min(range.high, upper_bound_of(high.value, range.places, high.exclusive));
  }
  const TextDfa dfa = decimal_dfa(range);
  if (dfa.states.empty()) {
    return conflict(members, "no number that dak can write is inside its bounds and a multiple");
  }
  out.push_back(ruled(Kind::kNumber, where, dfa, 0, TextRule::kNoLimit));
}

void SchemaReader::add_string(const Members& members, std::vector<NodeId>& out) {
  TextDfa dfa = TextDfa::anything();
  bool plain = true;
  const auto hold = [&](const Member& member, std::string_view word, const std::string& pattern) {
    dfa = joined(*member.schema, dfa,
                 source_.pattern(*member.schema, word, pattern, conjunctions_.loose()));
    plain = false;
  };
  for (const Member& member : members) {
    if (const OrderedJson* const pattern = rule_of(member, "pattern")) {
      hold(member, "pattern", pattern->get<std::string>());
    }
    if (const OrderedJson* const format = rule_of(member, "format")) {
      const auto of_format = pattern_of_format(format->get<std::string>());
      if (of_format && !conjunctions_.loose()) hold(member, "format", *of_format);
    }
  }
  const uint32_t least = least_of(source_, members, "minLength");
  const uint32_t most = most_of(source_, members, "maxLength");
  if (plain && least == 0 && most == TextRule::kNoLimit) {
    out.push_back(add({.kind = Kind::kString}));
    return;
  }
  const NodeId node = ruled(Kind::kString, *members.front().schema, dfa, least, most);
  if (grammar_.nodes_[node].text < 0) {
    return conflict(members, "no string has its lengths, patterns and format");
  }
  out.push_back(node);
}

void SchemaReader::add_array(const Members& members, std::vector<NodeId>& out) {
  JsonNode node{.kind = Kind::kArray};
  const uint32_t most = most_of(source_, members, "maxItems");
  node.least = least_of(source_, members, "minItems");
  if (most != TextRule::kNoLimit) node.most = most;
  if (node.least > node.most) return conflict(members, "minItems is above maxItems");
  const auto is_old = [](const Member& member) {
    const OrderedJson* const items = rule_of(member, "items");
    return items != nullptr && items->is_array();
  };
  size_t fixed = 0;
  for (const Member& member : members) {
    const OrderedJson* const first = rule_of(member, is_old(member) ? "items" : "prefixItems");
    if (first != nullptr) fixed = std::max(fixed, first->size());
    node.unique = node.unique || (rule_of(member, "uniqueItems") != nullptr &&
                                  *rule_of(member, "uniqueItems") == true);
  }
  if (fixed > kMostPrefix) source_.fail(*members.front().schema, "has too many items");
  for (size_t i = 0; i <= fixed; ++i) {  // the last one: items after those
    Conjunction item;
    for (const Member& member : members) {
      const std::string_view first = is_old(member) ? "items" : "prefixItems";
      const std::string_view rest = is_old(member) ? "additionalItems" : "items";
      const OrderedJson* const own = rule_of(member, first);
      if (i < fixed && own != nullptr && i < own->size()) {
        item.push_back(&source_.part(*member.schema, first, i));
      } else if (rule_of(member, rest) != nullptr) {
        item.push_back(&source_.part(*member.schema, rest));
      }
    }
    node.children.push_back(node_of(item));
  }
  if (node.most <= 1 || conjunctions_.loose()) node.unique = false;
  if (node.unique) {
    if (fixed > 0) {
      source_.fail(*members.front().schema,
                   "has uniqueItems beside items of their own places, which "
                   "dak cannot hold together");
    }
    node.children = {distinct_items(members, node.children[0])};
    node.most = std::min<int64_t>(node.most, kMostDistinct);
    if (node.least > node.most) {
      source_.fail(*members.front().schema,
                   fmt::format("asks for more than {} different items", kMostDistinct));
    }
  }
  out.push_back(add(std::move(node)));
}

// Items that can be told apart: one list of values, whole numbers or strings.
NodeId SchemaReader::distinct_items(const Members& members, NodeId items) {
  const OrderedJson& where = *members.front().schema;
  const std::vector<NodeId> kinds = grammar_.nodes_[items].children;
  JsonNode values{.kind = Kind::kText};
  for (const NodeId kind : kinds) {
    const JsonNode& node = grammar_.nodes_[kind];
    if (node.kind != Kind::kText) continue;
    values.names.insert(values.names.end(), node.names.begin(), node.names.end());
  }
  const auto is_text = [this](NodeId id) { return grammar_.nodes_[id].kind == Kind::kText; };
  if (!kinds.empty() && std::ranges::all_of(kinds, is_text)) {
    if (values.names.size() <= kMostDistinct) return one_of({add(std::move(values))});
  } else if (kinds.size() == 1) {
    const JsonNode node = grammar_.nodes_[kinds[0]];
    const bool number = node.kind == Kind::kNumber &&
                        !has_point(grammar_.texts_[static_cast<size_t>(node.text)].dfa());
    if (number) return items;
    if (node.kind == Kind::kString) {
      // Without escapes a text is written in one way.
      static const TextDfa kWithoutEscapes = regex_dfa("^[^\"\\\\\\u0000-\\u001f]*$");
      const bool plain = node.text < 0;
      const TextRule* const rule =
          plain ? nullptr : &grammar_.texts_[static_cast<size_t>(node.text)];
      const TextDfa dfa = plain ? kWithoutEscapes : joined(where, rule->dfa(), kWithoutEscapes);
      return ruled(Kind::kString, where, dfa, plain ? 0 : rule->least(),
                   plain ? TextRule::kNoLimit : rule->most());
    }
  }
  source_.fail_at(
      source_.path(where) + "/uniqueItems",
      fmt::format("is held for strings, for integers and for at most {} fixed values alone",
                  kMostDistinct));
}

}  // namespace dak
