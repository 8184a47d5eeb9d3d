// Attribute and item access, and the methods of dict, list and loop.
#include "text/jinja/methods.h"

#include <algorithm>

#include "text/jinja/args.h"
#include "text/jinja/operators.h"
#include "text/jinja/text.h"

namespace dak::jinja {
namespace {

const DictRef& self_dict(const Value& self) {
  const auto* dict = self.get<DictRef>();
  require(dict != nullptr, "a dict method without its dict");
  return *dict;
}

const List& self_list(const Value& self) {
  const auto* list = self.get<ListRef>();
  require(list != nullptr, "a list method without its list");
  return **list;
}

Value view_of(const Value& self, const Args& args, std::string_view name, View::Part part) {
  const Bound bound(name, args, {});
  return std::make_shared<const View>(View{self_dict(self), part});
}
Value keys(Interpreter&, const Value& self, Args& args) {
  return view_of(self, args, "keys", View::Part::kKeys);
}
Value values(Interpreter&, const Value& self, Args& args) {
  return view_of(self, args, "values", View::Part::kValues);
}
Value items(Interpreter&, const Value& self, Args& args) {
  return view_of(self, args, "items", View::Part::kItems);
}

Value get(Interpreter& in, const Value& self, Args& args) {
  const Bound bound("get", args, {"", ""}, 1);
  if (!hashable(bound[0])) fail(fmt::format("a {} cannot be a key", type_name(bound[0])));
  in.budget().step(1 + self_dict(self)->entries.size() / 16);
  if (const Value* value = self_dict(self)->find(bound[0], in.budget())) return *value;
  return bound.has(1) ? bound[1] : Value(None{});
}

Value copy(Interpreter&, const Value& self, Args& args) {
  const Bound bound("copy", args, {});
  return self;  // it cannot change
}

Value list_count(Interpreter& in, const Value& self, Args& args) {
  const Bound bound("count", args, {""}, 1);
  int64_t count = 0;
  for (const Value& item : self_list(self).items) {
    count += equal(item, bound[0], in.budget()) ? 1 : 0;
  }
  return count;
}

Value list_index(Interpreter& in, const Value& self, Args& args) {
  const Bound bound("index", args, {"", "", ""}, 1);
  const std::vector<Value>& all = self_list(self).items;
  const auto size = static_cast<int64_t>(all.size());
  const auto place = [size](int64_t at) {
    return std::clamp<int64_t>(at < 0 ? std::max(at, -size) + size : at, 0, size);
  };
  const int64_t end = place(bound.integer(2, size));
  for (int64_t i = place(bound.integer(1, 0)); i < end; ++i) {
    if (equal(all[static_cast<size_t>(i)], bound[0], in.budget())) return i;
  }
  fail("index() does not find the item");
}

Value loop_cycle(Interpreter&, const Value& self, Args& args) {
  if (args.positional.empty()) fail("loop.cycle() needs items");
  const auto* loop = self.get<Loop*>();
  return args.positional[static_cast<size_t>((*loop)->index0) % args.positional.size()];
}

Value loop_changed(Interpreter& in, const Value& self, Args& args) {
  Loop& loop = **self.get<Loop*>();
  bool same = loop.last_changed && loop.last_changed->size() == args.positional.size();
  for (size_t i = 0; same && i < args.positional.size(); ++i) {
    same = equal((*loop.last_changed)[i], args.positional[i], in.budget());
  }
  loop.last_changed = args.positional;
  return !same;
}

Value bind(const Value& self, const NamedMethod& method) {
  return std::make_shared<const Native>(Native{method.name, method.function, self});
}

const NamedMethod* find_in(const std::vector<NamedMethod>& methods, std::string_view name) {
  for (const NamedMethod& method : methods) {
    if (method.name == name) return &method;
  }
  return nullptr;
}

bool list_mutates(std::string_view name) {
  static constexpr std::string_view kNames[] = {"append", "clear",  "extend",  "insert",
                                                "pop",    "remove", "reverse", "sort"};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

bool dict_mutates(std::string_view name) {
  return name == "clear" || name == "pop" || name == "popitem" || name == "setdefault" ||
         name == "update";
}

Value missing(const Value& object, std::string_view name) {
  return undefined(fmt::format("a {} has no attribute '{}'", type_name(object), printable(name)));
}

Value range_attribute(const Range& range, std::string_view name) {
  if (name == "start") return range.start;
  if (name == "stop") return range.stop;
  if (name == "step") return range.step;
  return {};
}

// An index into something of `size`, from its end when negative; nothing when outside.
std::optional<size_t> place(int64_t index, int64_t size) {
  if (index < 0) index += size;
  if (index < 0 || index >= size) return std::nullopt;
  return static_cast<size_t>(index);
}

// object[index]; undefined (without a reason) when it is no sequence or the index is outside.
Value element(Interpreter& in, const Value& object, int64_t index) {
  if (const auto* list = object.get<ListRef>()) {
    const auto at = place(index, static_cast<int64_t>((*list)->items.size()));
    return at ? (*list)->items[*at] : Value();
  }
  if (const auto* text = object.get<TextRef>()) {
    const std::string& bytes = (*text)->bytes;
    if ((*text)->ascii) {
      const auto at = place(index, static_cast<int64_t>(bytes.size()));
      return at ? in.text(bytes.substr(*at, 1), (*text)->markup) : Value();
    }
    in.budget().work(bytes.size() * 4);
    const std::vector<size_t> offsets = code_point_offsets(bytes);
    const auto at = place(index, static_cast<int64_t>(offsets.size()) - 1);
    if (!at) return {};
    return in.text(bytes.substr(offsets[*at], offsets[*at + 1] - offsets[*at]), (*text)->markup);
  }
  if (const auto* range = object.get<RangeRef>()) {
    const auto at = place(index, (*range)->size());
    if (at) return (*range)->start + static_cast<int64_t>(*at) * (*range)->step;
  }
  return {};
}

}  // namespace

const std::vector<NamedMethod>& dict_methods() {
  static const std::vector<NamedMethod> kMethods = {
      {"get", get}, {"items", items}, {"keys", keys}, {"values", values}, {"copy", copy}};
  return kMethods;
}

const std::vector<NamedMethod>& list_methods() {
  static const std::vector<NamedMethod> kMethods = {
      {"index", list_index}, {"count", list_count}, {"copy", copy}};
  return kMethods;
}

Value find_method(const Value& object, std::string_view name) {
  const NamedMethod* method = nullptr;
  bool forbidden = false;
  if (object.is<TextRef>()) {
    method = find_in(text_methods(), name);
  } else if (object.is<DictRef>()) {
    method = find_in(dict_methods(), name);
    forbidden = dict_mutates(name);
  } else if (const auto* list = object.get<ListRef>()) {
    const bool tuple_lacks = (*list)->tuple && name == "copy";
    if (!tuple_lacks) method = find_in(list_methods(), name);
    forbidden = !(*list)->tuple && list_mutates(name);
  }
  if (method != nullptr) return bind(object, *method);
  if (forbidden) {
    return undefined(fmt::format("'{}' of a {} is refused: templates may not change values", name,
                                 type_name(object)));
  }
  return {};
}

Value loop_attribute(Interpreter& in, Loop& loop, std::string_view name) {
  if (name == "index") return loop.index0 + 1;
  if (name == "index0") return loop.index0;
  if (name == "first") return loop.index0 == 0;
  if (name == "last") return loop.peek() == nullptr;
  if (name == "length") return loop.length();
  if (name == "revindex") return loop.length() - loop.index0;
  if (name == "revindex0") return loop.length() - loop.index0 - 1;
  if (name == "depth") return loop.depth0 + 1;
  if (name == "depth0") return loop.depth0;
  if (name == "previtem") {
    return loop.index0 == 0 ? undefined("there is no previous item") : loop.previous;
  }
  if (name == "nextitem") {
    const Value* next = loop.peek();
    return next != nullptr ? *next : undefined("there is no next item");
  }
  in.budget().step();
  if (name == "cycle" || name == "changed") {
    loop.escaped = true;
    return bind(&loop, name == "cycle" ? NamedMethod{"cycle", loop_cycle}
                                       : NamedMethod{"changed", loop_changed});
  }
  return missing(&loop, name);
}

Value Interpreter::attribute(const Value& object, const std::string& name) {
  if (object.is<Undefined>()) fail_undefined(object);
  if (const auto* loop = object.get<Loop*>()) return loop_attribute(*this, **loop, name);
  if (const auto* space = object.get<Namespace*>()) {
    const Value* value = (*space)->find(name);
    return value != nullptr ? *value : missing(object, name);
  }
  Value found = find_method(object, name);
  const auto* nothing = found.get<Undefined>();
  if (nothing == nullptr || nothing->why != nullptr) return found;
  if (const auto* dict = object.get<DictRef>()) {
    budget_.step(1 + (*dict)->entries.size() / 16);
    if (const Value* value = (*dict)->find(name)) return *value;
  }
  if (const auto* range = object.get<RangeRef>()) found = range_attribute(**range, name);
  if (const auto* macro = object.get<Macro*>(); macro != nullptr && name == "name") {
    return text(std::string(macro_name(**macro)));
  }
  return found.is<Undefined>() ? missing(object, name) : found;
}

Value Interpreter::item(const Value& object, const Value& key) {
  if (object.is<Undefined>()) fail_undefined(object);
  if (const auto* dict = object.get<DictRef>(); dict != nullptr && hashable(key)) {
    budget_.step(1 + (*dict)->entries.size() / 16);
    if (const Value* value = (*dict)->find(key, budget_)) return *value;
  }
  int64_t index = 0;
  if (!object.is<DictRef>() && as_int(key, &index)) {
    Value found = element(*this, object, index);
    if (!found.is<Undefined>()) return found;
    return undefined(fmt::format("a {} has no element {}", type_name(object), index));
  }
  if (const std::string* name = as_string(key)) {
    if (object.is<DictRef>()) {
      Value found = find_method(object, *name);
      return found.is<Undefined>() ? missing(object, *name) : found;
    }
    return attribute(object, *name);
  }
  return undefined(fmt::format("a {} has no such element", type_name(object)));
}

std::vector<Value> Interpreter::iterate(const Value& value) {
  if (const auto* list = value.get<ListRef>()) {
    budget_.step(1 + (*list)->items.size() / 4);
    return (*list)->items;
  }
  if (const auto* generator = value.get<GeneratorRef>()) {
    Generator& source = **generator;
    std::vector<Value> rest(source.items.begin() + static_cast<ptrdiff_t>(source.next),
                            source.items.end());
    source.next = source.items.size();
    budget_.step(1 + rest.size() / 4);
    return rest;
  }
  std::vector<Value> items;
  if (const std::string* bytes = as_string(value)) {
    budget_.step(1 + bytes->size());
    for (size_t at = 0; at < bytes->size();) {
      const size_t size = decode_at(*bytes, at).bytes;
      items.push_back(text(bytes->substr(at, size)));
      at += size;
    }
  } else if (const auto* dict = value.get<DictRef>()) {
    budget_.step(1 + (*dict)->entries.size() / 4);
    for (const auto& [key, entry] : (*dict)->entries) items.push_back(key);
  } else if (const auto* view = value.get<ViewRef>()) {
    budget_.step(1 + (*view)->dict->entries.size() / 4);
    for (const auto& [key, entry] : (*view)->dict->entries) {
      switch ((*view)->part) {
        case View::Part::kKeys:
          items.push_back(key);
          break;
        case View::Part::kValues:
          items.push_back(entry);
          break;
        case View::Part::kItems:
          items.push_back(tuple({key, entry}));
          break;
      }
    }
  } else if (const auto* range = value.get<RangeRef>()) {
    const int64_t size = (*range)->size();
    budget_.step(1 + static_cast<size_t>(size) / 4);
    for (int64_t i = 0; i < size; ++i) items.emplace_back((*range)->start + i * (*range)->step);
  } else if (!value.is<Undefined>()) {
    fail(fmt::format("a {} cannot be iterated over", type_name(value)));
  }
  return items;
}

}  // namespace dak::jinja
