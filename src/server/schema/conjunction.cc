#include "server/schema/conjunction.h"

#include <algorithm>
#include <utility>

#include "server/schema/schema_check.h"

namespace dak {
namespace {

constexpr size_t kMostAlternatives = 128;  // of one value
constexpr size_t kMostParts = 256;         // of one anyOf or oneOf
constexpr size_t kMostSteps = 50'000;      // choices tried for a schema

struct TypeName {
  std::string_view name;
  uint8_t types;
};
constexpr TypeName kTypes[] = {{"null", kNullType},       {"boolean", kBooleanType},
                               {"integer", kIntegerType}, {"number", kIntegerType | kFractionType},
                               {"string", kStringType},   {"array", kArrayType},
                               {"object", kObjectType}};

// Rules that say something about values of one type alone.
constexpr TypeName kRulesOf[] = {{"properties", kObjectType},
                                 {"required", kObjectType},
                                 {"additionalProperties", kObjectType},
                                 {"patternProperties", kObjectType},
                                 {"propertyNames", kObjectType},
                                 {"minProperties", kObjectType},
                                 {"maxProperties", kObjectType},
                                 {"items", kArrayType},
                                 {"prefixItems", kArrayType},
                                 {"minItems", kArrayType},
                                 {"maxItems", kArrayType},
                                 {"uniqueItems", kArrayType},
                                 {"pattern", kStringType},
                                 {"minLength", kStringType},
                                 {"maxLength", kStringType},
                                 {"minimum", kIntegerType | kFractionType},
                                 {"maximum", kIntegerType | kFractionType},
                                 {"exclusiveMinimum", kIntegerType | kFractionType},
                                 {"exclusiveMaximum", kIntegerType | kFractionType},
                                 {"multipleOf", kIntegerType | kFractionType}};

}  // namespace

const OrderedJson* rule_of(const Member& member, std::string_view word) {
  const auto found = member.schema->find(word);
  return found == member.schema->end() ? nullptr : &*found;
}

void Conjunctions::add(Members& members, const OrderedJson& schema, int from, bool outside) {
  if (schema == true) return;
  for (int at = from; at >= 0; at = members[static_cast<size_t>(at)].from) {
    if (members[static_cast<size_t>(at)].schema == &schema) {
      source_.fail(schema, "refers to itself without end");
    }
  }
  const auto is_same = [&](const Member& one) {
    return one.schema == &schema && (outside || !one.outside);
  };
  if (std::ranges::any_of(members, is_same)) return;
  const auto index = static_cast<int>(members.size());
  members.push_back({&schema, from, outside});
  if (!schema.is_object()) return;
  if (schema.contains("$ref")) add(members, source_.target(schema), index, outside);
  if (!schema.contains("allOf")) return;
  for (size_t i = 0; i < schema["allOf"].size(); ++i) {
    add(members, source_.part(schema, "allOf", i), index, outside);
  }
}

Members Conjunctions::members_of(const Conjunction& schemas) {
  Members members;
  for (const OrderedJson* schema : schemas) add(members, *schema, -1, false);
  return members;
}

std::vector<Members> Conjunctions::alternatives(const Members& members, const Overlap& overlap) {
  std::vector<Members> out;
  choose(members, {}, overlap, out);
  return out;
}

void Conjunctions::choose(const Members& members, Choice at, const Overlap& overlap,
                          std::vector<Members>& out) {
  const auto word = [](bool one_of) { return one_of ? "oneOf" : "anyOf"; };
  while (at.member < members.size() && !members[at.member].schema->contains(word(at.one_of))) {
    if (at.one_of) ++at.member;
    at.one_of = !at.one_of;
  }
  if (++steps_ > kMostSteps) source_.fail_at("", "has too many alternatives in one another");
  if (at.member == members.size()) {
    out.push_back(members);
    return;
  }
  const Member member = members[at.member];
  const OrderedJson& schema = *member.schema;
  const size_t parts = schema[word(at.one_of)].size();
  if (parts > kMostParts) source_.fail(schema, "has too many alternatives");
  const Choice next{at.one_of ? at.member + 1 : at.member, !at.one_of};
  std::vector<Members> chosen;
  for (size_t i = 0; i < parts; ++i) {
    chosen.push_back(members);
    add(chosen[i], source_.part(schema, word(at.one_of), i), static_cast<int>(at.member),
        member.outside);
    if (types(chosen[i]) == 0) continue;
    choose(chosen[i], next, overlap, out);
    if (out.size() > kMostAlternatives) source_.fail(schema, "has too many alternatives");
  }
  if (!at.one_of || member.outside || !overlap) return;
  for (size_t i = 0; i < parts; ++i) {
    for (size_t j = 0; j < parts; ++j) {
      Members both = chosen[i];
      add(both, source_.part(schema, "oneOf", j), static_cast<int>(at.member), true);
      // Values are judged one by one, by exactly one part each.
      const bool fixed = values(chosen[i], false).has_value();
      if (i == j || fixed || types(chosen[i]) == 0 || apart(both)) continue;
      std::vector<Members> ways;
      choose(both, next, {}, ways);
      overlap(ways, source_.path(schema) + "/oneOf");
    }
  }
}

// Whether types or fixed values, also of a property that must be there, say that no value is valid
// to all.
bool Conjunctions::apart(const Members& both) {
  const bool was_loose = std::exchange(loose_, true);
  const bool apart = apart_loosely(both);
  loose_ = was_loose;
  return apart;
}

bool Conjunctions::apart_loosely(const Members& both) {
  const auto fixed = values(both, false);
  if (fixed ? fixed->empty() : types(both) == 0) return true;
  if (types(both) != kObjectType) return false;
  for (const Member& member : both) {
    if (!member.schema->contains("required")) continue;
    for (const OrderedJson& required : (*member.schema)["required"]) {
      const auto name = required.get<std::string>();
      Conjunction of_property;
      for (const Member& other : both) {
        const auto properties = other.schema->find("properties");
        if (properties == other.schema->end() || !properties->contains(name)) continue;
        of_property.push_back(&source_.part(*other.schema, "properties", name));
      }
      const auto left = values(members_of(of_property), false);
      if (left && left->empty()) return true;
    }
  }
  return false;
}

uint8_t Conjunctions::types(const Members& members) const {
  uint8_t types = kAllTypes;
  uint8_t meant = 0;
  bool typed = false;
  for (const Member& member : members) {
    if (member.schema->is_boolean()) return 0;  // false: true is no member
    if (const auto found = member.schema->find("type"); found != member.schema->end()) {
      uint8_t named = 0;
      const auto name_one = [&](const OrderedJson& one) {
        const auto* const type = std::ranges::find_if(
            kTypes, [&one](const TypeName& known) { return one == known.name; });
        named |= type->types;
      };
      if (found->is_array()) {
        for (const OrderedJson& one : *found) name_one(one);
      } else {
        name_one(*found);
      }
      types &= named;
      typed = true;
    }
    typed = typed || member.schema->contains("enum") || member.schema->contains("const");
    for (const TypeName& rule : kRulesOf) {
      if (member.schema->contains(rule.name)) meant |= rule.types;
    }
  }
  return typed || meant == 0 || loose_ ? types : types & meant;
}

bool Conjunctions::is_free(const Members& members) {
  const auto has_rule = [](const Member& member) {
    const OrderedJson& schema = *member.schema;
    if (schema.contains("format")) return true;
    return std::ranges::any_of(
        kRulesOf, [&schema](const TypeName& rule) { return schema.contains(rule.name); });
  };
  return std::ranges::none_of(members, has_rule);
}

std::optional<std::vector<const OrderedJson*>> Conjunctions::values(const Members& members,
                                                                    bool exactly) {
  std::vector<const OrderedJson*> all;
  bool fixed = false;
  for (const Member& member : members) {
    if (fixed || member.schema->is_boolean()) continue;
    const OrderedJson& schema = *member.schema;
    if (schema.contains("const")) {
      all.push_back(&schema["const"]);
      fixed = true;
    } else if (schema.contains("enum")) {
      for (const OrderedJson& value : schema["enum"]) all.push_back(&value);
      fixed = true;
    }
  }
  if (!fixed) return {};
  std::vector<const OrderedJson*> left;
  for (const OrderedJson* value : all) {
    const auto is_held = [&](const Member& one) {
      return exactly ? holds(source_, *one.schema, *value)
                     : holds_alone(source_, *one.schema, *value);
    };
    const auto is_same = [&](const OrderedJson* other) { return same_value(*other, *value); };
    if (std::ranges::all_of(members, is_held) && std::ranges::none_of(left, is_same)) {
      left.push_back(value);
    }
  }
  return left;
}

}  // namespace dak
