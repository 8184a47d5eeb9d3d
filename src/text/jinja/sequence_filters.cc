// Filters that pick from, order or look into sequences and mappings.
#include <algorithm>
#include <numeric>

#include "text/jinja/args.h"
#include "text/jinja/filters.h"
#include "text/jinja/operators.h"
#include "text/jinja/text.h"

namespace dak::jinja {
namespace {

// A string as its lower case, for orders that ignore case.
Value fold(Interpreter& in, const Value& value) {
  const std::string* text = as_string(value);
  if (text == nullptr) return value;
  in.budget().work(text->size() * 4);
  return in.text(to_lower(*text));
}

// Stable. std::stable_sort would read beyond its input for no order, only give a worse one.
void sort_by(Interpreter& in, std::vector<Value>& items, const std::vector<Value>& keys,
             bool reverse) {
  std::vector<size_t> order(items.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    bool unordered = false;
    const int result = compare(keys[a], keys[b], in.budget(), &unordered);
    return !unordered && (reverse ? result > 0 : result < 0);
  });
  std::vector<Value> sorted;
  sorted.reserve(items.size());
  for (const size_t i : order) sorted.push_back(items[i]);
  items = std::move(sorted);
}

// The key that sort compares: one attribute, or several with commas.
Value sort_key(Interpreter& in, const Value& item, const Value* attribute, bool case_sensitive) {
  const auto folded = [&](const Value& value) { return case_sensitive ? value : fold(in, value); };
  if (attribute == nullptr) return folded(item);
  const std::string* names = as_string(*attribute);
  if (names == nullptr || names->find(',') == std::string::npos) {
    return folded(item_at_path(in, item, *attribute));
  }
  std::vector<Value> keys;
  for (size_t begin = 0; begin <= names->size();) {
    const size_t end = std::min(names->find(',', begin), names->size());
    keys.push_back(folded(item_at_path(in, item, in.text(names->substr(begin, end - begin)))));
    begin = end + 1;
  }
  return in.list(std::move(keys));
}

std::vector<Value> keys_of(Interpreter& in, const std::vector<Value>& items, const Bound& bound,
                           size_t attribute, bool case_sensitive) {
  std::vector<Value> keys;
  keys.reserve(items.size());
  const Value* path = bound.given(attribute) ? &bound[attribute] : nullptr;
  for (const Value& item : items) keys.push_back(sort_key(in, item, path, case_sensitive));
  return keys;
}

Value sort(Interpreter& in, const Value& input, const Args& args) {
  const Bound bound("sort", args, {"reverse", "case_sensitive", "attribute"});
  std::vector<Value> items = in.iterate(input);
  sort_by(in, items, keys_of(in, items, bound, 2, bound.flag(1, false)), bound.flag(0, false));
  return in.list(std::move(items));
}

Value dictsort(Interpreter& in, const Value& input, const Args& args) {
  const Bound bound("dictsort", args, {"case_sensitive", "by", "reverse"});
  const auto* dict = input.get<DictRef>();
  if (dict == nullptr) {
    if (input.is<Undefined>()) fail_undefined(input);
    fail(fmt::format("dictsort needs a mapping, not a {}", type_name(input)));
  }
  const std::string by = bound.has(1) ? bound.string(1) : "key";
  if (by != "key" && by != "value") fail("dictsort sorts by 'key' or 'value'");
  std::vector<Value> items;
  std::vector<Value> keys;
  for (const auto& [key, value] : (*dict)->entries) {
    items.push_back(in.tuple({key, value}));
    const Value& sorted_by = by == "key" ? key : value;
    keys.push_back(bound.flag(0, false) ? sorted_by : fold(in, sorted_by));
  }
  sort_by(in, items, keys, bound.flag(2, false));
  return in.list(std::move(items));
}

Value unique(Interpreter& in, const Value& input, const Args& args) {
  const Bound bound("unique", args, {"case_sensitive", "attribute"});
  const std::vector<Value> items = in.iterate(input);
  const std::vector<Value> keys = keys_of(in, items, bound, 1, bound.flag(0, false));
  std::vector<Value> kept;
  std::vector<const Value*> seen;
  for (size_t i = 0; i < items.size(); ++i) {
    if (!hashable(keys[i])) fail(fmt::format("a {} is not hashable", type_name(keys[i])));
    const bool known = std::any_of(seen.begin(), seen.end(), [&](const Value* key) {
      return equal(*key, keys[i], in.budget());
    });
    if (known) continue;
    seen.push_back(&keys[i]);
    kept.push_back(items[i]);
  }
  return in.generator(std::move(kept));
}

Value extreme(Interpreter& in, const Value& input, const Args& args, int sign) {
  const Bound bound("min or max", args, {"case_sensitive", "attribute"});
  const std::vector<Value> items = in.iterate(input);
  if (items.empty()) return undefined("the sequence is empty");
  const std::vector<Value> keys = keys_of(in, items, bound, 1, bound.flag(0, false));
  size_t best = 0;
  for (size_t i = 1; i < items.size(); ++i) {
    bool unordered = false;
    const int order = compare(keys[i], keys[best], in.budget(), &unordered);
    if (!unordered && order * sign > 0) best = i;
  }
  return items[best];
}
Value min(Interpreter& in, const Value& input, const Args& args) {
  return extreme(in, input, args, -1);
}
Value max(Interpreter& in, const Value& input, const Args& args) {
  return extreme(in, input, args, 1);
}

Value sum(Interpreter& in, const Value& input, const Args& args) {
  const Bound bound("sum", args, {"attribute", "start"});
  Value total = bound.has(1) ? bound[1] : Value(int64_t{0});
  if (as_string(total) != nullptr) fail("sum() does not add strings: use join");
  for (const Value& item : in.iterate(input)) {
    total =
        binary(in, BinaryOp::kAdd, total, bound.given(0) ? item_at_path(in, item, bound[0]) : item);
  }
  return total;
}

Value first(Interpreter& in, const Value& input, const Args& args) {
  const Bound bound("first", args, {});
  if (const auto* generator = input.get<GeneratorRef>()) {
    Generator& source = **generator;
    if (source.next < source.items.size()) return source.items[source.next++];
  }
  const std::vector<Value> items = in.iterate(input);
  return items.empty() ? undefined("the sequence is empty") : items.front();
}

Value last(Interpreter& in, const Value& input, const Args& args) {
  const Bound bound("last", args, {});
  if (input.is<GeneratorRef>()) fail("last needs a sequence: put list before it");
  if (input.is<Undefined>()) fail_undefined(input);
  const std::vector<Value> items = in.iterate(input);
  return items.empty() ? undefined("the sequence is empty") : items.back();
}

Value make_list(Interpreter& in, const Value& input, const Args& args) {
  const Bound bound("list", args, {});
  return in.list(in.iterate(input));
}

Value reverse(Interpreter& in, const Value& input, const Args& args) {
  const Bound bound("reverse", args, {});
  if (as_string(input) != nullptr) return slice(in, input, std::nullopt, std::nullopt, -1);
  std::vector<Value> items = in.iterate(input);
  std::reverse(items.begin(), items.end());
  // Python's reversed() of a sequence is an iterator; what cannot be reversed is made a list.
  if (input.is<GeneratorRef>() || input.is<Undefined>()) return in.list(std::move(items));
  return in.generator(std::move(items));
}

Value items_of(Interpreter& in, const Value& input, const Args& args) {
  const Bound bound("items", args, {});
  if (input.is<Undefined>()) return in.generator({});
  const auto* dict = input.get<DictRef>();
  if (dict == nullptr) fail(fmt::format("items needs a mapping, not a {}", type_name(input)));
  return in.generator(in.iterate(std::make_shared<const View>(View{*dict, View::Part::kItems})));
}

Value map(Interpreter& in, const Value& input, const Args& args) {
  std::vector<Value> out;
  if (!truthy(input)) return in.generator({});
  if (args.positional.empty() && !args.keyword.empty()) {
    const Bound bound("map", args, {"attribute", "default"});
    if (!bound.has(0)) fail("map() needs a filter or an attribute");
    for (const Value& item : in.iterate(input)) {
      Value value = item_at_path(in, item, bound[0]);
      if (value.is<Undefined>() && bound.given(1)) value = bound[1];
      out.push_back(std::move(value));
    }
    return in.generator(std::move(out));
  }
  if (args.positional.empty() || as_string(args.positional[0]) == nullptr) {
    fail("map() needs the name of a filter");
  }
  Args rest = args;
  rest.positional.erase(rest.positional.begin());
  const std::vector<Value> items = in.iterate(input);
  out.reserve(items.size());
  for (const Value& item : items) {
    out.push_back(in.filter(*as_string(args.positional[0]), item, rest));
  }
  return in.generator(std::move(out));
}

// select, reject and their attribute forms: the items whose test comes out as `wanted`.
Value choose(Interpreter& in, const Value& input, const Args& args, bool by_attribute,
             bool wanted) {
  if (!truthy(input)) return in.generator({});
  const size_t offset = by_attribute ? 1 : 0;
  if (args.positional.size() < offset) fail("the filter needs the name of an attribute");
  const bool tested = args.positional.size() > offset;
  Args rest = args;
  const auto used = static_cast<ptrdiff_t>(offset + (tested ? 1 : 0));
  rest.positional.erase(rest.positional.begin(), rest.positional.begin() + used);
  const std::string* name = tested ? as_string(args.positional[offset]) : nullptr;
  if (tested && name == nullptr) fail("the filter needs the name of a test");
  std::vector<Value> out;
  for (const Value& item : in.iterate(input)) {
    const Value value = by_attribute ? item_at_path(in, item, args.positional[0]) : item;
    const bool result = tested ? in.test(*name, value, rest) : truthy(value);
    if (result == wanted) out.push_back(item);
  }
  return in.generator(std::move(out));
}
Value select(Interpreter& in, const Value& input, const Args& args) {
  return choose(in, input, args, false, true);
}
Value reject(Interpreter& in, const Value& input, const Args& args) {
  return choose(in, input, args, false, false);
}
Value selectattr(Interpreter& in, const Value& input, const Args& args) {
  return choose(in, input, args, true, true);
}
Value rejectattr(Interpreter& in, const Value& input, const Args& args) {
  return choose(in, input, args, true, false);
}

Value batch(Interpreter& in, const Value& input, const Args& args) {
  const Bound bound("batch", args, {"linecount", "fill_with"}, 1);
  const int64_t size = bound.integer(0);
  std::vector<Value> out;
  std::vector<Value> row;
  for (Value& item : in.iterate(input)) {
    if (static_cast<int64_t>(row.size()) == size) out.push_back(in.list(std::exchange(row, {})));
    row.push_back(std::move(item));
  }
  if (!row.empty()) {
    if (bound.given(1) && size > 100'000) fail_exhausted("batch() of more than 100000");
    while (bound.given(1) && static_cast<int64_t>(row.size()) < size) row.push_back(bound[1]);
    out.push_back(in.list(std::move(row)));
  }
  return in.generator(std::move(out));
}

// `slices` lists of nearly the same length, the longer ones first.
Value slice(Interpreter& in, const Value& input, const Args& args) {
  const Bound bound("slice", args, {"slices", "fill_with"}, 1);
  const std::vector<Value> items = in.iterate(input);
  const int64_t slices = bound.integer(0);
  if (slices == 0) fail("slice() into 0 parts");
  if (slices > 100'000) fail_exhausted("slice() into more than 100000");
  const auto count = static_cast<int64_t>(items.size());
  std::vector<Value> out;
  int64_t begin = 0;
  for (int64_t n = 0; n < slices; ++n) {
    const bool longer = n < count % slices;
    const int64_t end = begin + count / slices + (longer ? 1 : 0);
    std::vector<Value> part(items.begin() + begin, items.begin() + end);
    if (bound.given(1) && !longer) part.push_back(bound[1]);
    out.push_back(in.list(std::move(part)));
    begin = end;
  }
  return in.generator(std::move(out));
}

Value groupby(Interpreter& in, const Value& input, const Args& args) {
  const Bound bound("groupby", args, {"attribute", "default", "case_sensitive"}, 1);
  const bool case_sensitive = bound.flag(2, false);
  const auto key_of = [&](const Value& item) {
    const Value key = item_at_path(in, item, bound[0]);
    return key.is<Undefined>() && bound.given(1) ? bound[1] : key;
  };
  std::vector<Value> items = in.iterate(input);
  std::vector<Value> keys;
  keys.reserve(items.size());
  for (const Value& item : items) {
    keys.push_back(case_sensitive ? key_of(item) : fold(in, key_of(item)));
  }
  sort_by(in, items, keys, false);
  std::vector<Value> groups;
  std::vector<Value> group;
  for (size_t i = 0; i < items.size(); ++i) {
    group.push_back(items[i]);
    const auto folded = [&](size_t at) {
      return case_sensitive ? key_of(items[at]) : fold(in, key_of(items[at]));
    };
    const bool ends = i + 1 == items.size() || !equal(folded(i), folded(i + 1), in.budget());
    if (!ends) continue;
    const Value key = key_of(group.front());
    groups.push_back(in.tuple({key, in.list(std::exchange(group, {}))}));
  }
  return in.list(std::move(groups));
}

Value attr(Interpreter& in, const Value& input, const Args& args) {
  const Bound bound("attr", args, {"name"}, 1);
  if (input.is<DictRef>()) return undefined("attr() does not look up keys");
  return in.attribute(input, bound.string(0));
}

Value length_of(Interpreter&, const Value& input, const Args& args) {
  const Bound bound("length", args, {});
  return length(input);
}

}  // namespace

const std::vector<NamedFilter>& sequence_filters() {
  static const std::vector<NamedFilter> kFilters = {
      {"length", length_of},
      {"count", length_of},
      {"first", first},
      {"last", last},
      {"list", make_list},
      {"map", map},
      {"select", select},
      {"reject", reject},
      {"selectattr", selectattr},
      {"rejectattr", rejectattr},
      {"sort", sort},
      {"unique", unique},
      {"reverse", reverse},
      {"items", items_of},
      {"dictsort", dictsort},
      {"min", min},
      {"max", max},
      {"sum", sum},
      {"batch", batch},
      {"slice", slice},
      {"groupby", groupby},
      {"attr", attr},
  };
  return kFilters;
}

}  // namespace dak::jinja
