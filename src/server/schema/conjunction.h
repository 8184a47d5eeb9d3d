// Schemas that hold together, with the choices among them made: what anyOf, oneOf, allOf and $ref
// beside other words come to.
#pragma once

#include <functional>
#include <vector>

#include "server/schema/schema_source.h"

namespace dak {

// Schemas that one value must be valid to.
using Conjunction = std::vector<const OrderedJson*>;

struct Member {
  const OrderedJson* schema = nullptr;
  int from = -1;         // the member that it is a part of
  bool outside = false;  // it restricts what the others make, and names no property of its own
};
// With the targets of $ref and the parts of allOf as members of their own.
using Members = std::vector<Member>;

// What `word` says in a member that is no boolean; nullptr: nothing.
const OrderedJson* rule_of(const Member& member, std::string_view word);

enum : uint8_t {
  kNullType = 1,
  kBooleanType = 2,
  kIntegerType = 4,
  kFractionType = 8,  // numbers that are not whole
  kStringType = 16,
  kArrayType = 32,
  kObjectType = 64,
  kAllTypes = 127,
};

class Conjunctions {
 public:
  explicit Conjunctions(SchemaSource& source) : source_(source) {}

  // While it is loose, nothing is narrower than the schemas: to tell what none can be valid to.
  bool loose() const { return loose_; }
  void set_loose(bool loose) { loose_ = loose; }

  Members members_of(const Conjunction& schemas);
  // Every way to choose one part of each anyOf and oneOf. For two parts of a oneOf that may hold
  // for one value, as far as types and fixed values say, `overlap` is told the ways to have one
  // part chosen and the other outside.
  using Overlap = std::function<void(const std::vector<Members>&, const std::string& path)>;
  std::vector<Members> alternatives(const Members& members, const Overlap& overlap);

  // Types of the values that all may hold for. Members that name no type, but rules of some types,
  // mean these, unless it is loose.
  uint8_t types(const Members& members) const;
  // Whether no member has a rule of its own: choices have been made.
  static bool is_free(const Members& members);
  // The values that enum and const leave, by all members' rules; nullopt without enum or const.
  // `exactly`: also by all parts of their oneOf, of which others than the chosen one must not hold.
  std::optional<std::vector<const OrderedJson*>> values(const Members& members, bool exactly);

 private:
  struct Choice {
    size_t member = 0;
    bool one_of = false;  // else anyOf
  };
  void add(Members& members, const OrderedJson& schema, int from, bool outside);
  void choose(const Members& members, Choice at, const Overlap& overlap, std::vector<Members>& out);
  bool apart(const Members& both);
  bool apart_loosely(const Members& both);

  SchemaSource& source_;
  size_t steps_ = 0;
  bool loose_ = false;
};

}  // namespace dak
