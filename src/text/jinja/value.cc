#include "text/jinja/value.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "text/jinja/text.h"

namespace dak::jinja {
namespace {

constexpr size_t kValueBytes = sizeof(Value) + 16;  // with its share of the allocation

int depth_of_items(const std::vector<Value>& items) {
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, depth_of(item));
  if (depth >= kMaxDepth) fail_exhausted(fmt::format("values nested deeper than {}", kMaxDepth));
  return depth + 1;
}

int depth_of_entries(const std::vector<Dict::Entry>& entries) {
  int depth = 0;
  for (const auto& [key, value] : entries) {
    depth = std::max({depth, depth_of(key), depth_of(value)});
  }
  if (depth >= kMaxDepth) fail_exhausted(fmt::format("values nested deeper than {}", kMaxDepth));
  return depth + 1;
}

bool equal_numbers(const Value& a, const Value& b, bool* result) {
  int64_t int_a = 0;
  int64_t int_b = 0;
  double a_number = 0;
  double b_number = 0;
  if (!as_number(a, &a_number) || !as_number(b, &b_number)) return false;
  const auto* digits_a = a.get<Digits>();
  const auto* digits_b = b.get<Digits>();
  if (digits_a != nullptr && digits_b != nullptr) {
    *result = *digits_a->text == *digits_b->text;
  } else {
    *result = as_int(a, &int_a) && as_int(b, &int_b) ? int_a == int_b : a_number == b_number;
  }
  return true;
}

void check_depth(int depth) {
  if (depth > kMaxDepth) fail_exhausted(fmt::format("comparison deeper than {}", kMaxDepth));
}

bool equal_dicts(const Dict& a, const Dict& b, Budget& budget, int depth) {
  if (a.entries.size() != b.entries.size()) return false;
  for (const auto& [key, value] : a.entries) {
    budget.step(1 + b.entries.size() / 16);
    const Value* other = b.find(key, budget);
    if (other == nullptr || !equal(value, *other, budget, depth + 1)) return false;
  }
  return true;
}

}  // namespace

void fail(const std::string& what) { throw Fault(ErrorCode::kInvalidArgument, what); }
void fail_unsupported(const std::string& what) { throw Fault(ErrorCode::kUnsupported, what); }
void fail_exhausted(const std::string& what) { throw Fault(ErrorCode::kResourceExhausted, what); }

void Budget::exhausted_steps() {
  fail_exhausted(fmt::format("the template runs for more than {} steps", kMaxSteps));
}

void Budget::exhausted_memory(size_t bytes) {
  live_bytes_ -= bytes;  // the object that asked is not made
  fail_exhausted(fmt::format("the template's values take more than {} MiB", kMaxLiveBytes >> 20));
}

void Budget::check_text(size_t bytes) {
  if (bytes > kMaxOutputBytes) {
    fail_exhausted(fmt::format("a string of more than {} MiB", kMaxOutputBytes >> 20));
  }
  work(bytes);
}

Text::Text(std::string text, Budget* budget, bool is_markup)
    : bytes(std::move(text)),
      markup(is_markup),
      ascii(is_ascii(bytes)),
      charge(budget, sizeof(Text) + bytes.size()) {
  if (budget != nullptr) budget->check_text(bytes.size());
}

List::List(std::vector<Value> values, bool is_tuple, Budget* budget)
    : items(std::move(values)),
      tuple(is_tuple),
      depth(depth_of_items(items)),
      charge(budget, sizeof(List) + items.size() * kValueBytes) {
  if (budget != nullptr) budget->step(1 + items.size() / 4);
}

Dict::Dict(std::vector<Entry> values, Budget* budget)
    : entries(std::move(values)),
      depth(depth_of_entries(entries)),
      charge(budget, sizeof(Dict) + entries.size() * 2 * kValueBytes) {
  if (budget != nullptr) budget->step(1 + entries.size() / 4);
}

const Value* Dict::find(std::string_view key) const {
  for (const auto& [name, value] : entries) {
    const std::string* text = as_string(name);
    if (text != nullptr && *text == key) return &value;
  }
  return nullptr;
}

const Value* Dict::find(const Value& key, Budget& budget) const {
  if (const std::string* text = as_string(key)) return find(std::string_view(*text));
  for (const auto& [name, value] : entries) {
    if (equal(name, key, budget)) return &value;
  }
  return nullptr;
}

int64_t Range::size() const {
  // The caller made sure that the difference fits and that step is not 0.
  if (step > 0) return stop > start ? (stop - start - 1) / step + 1 : 0;
  return start > stop ? (start - stop - 1) / -step + 1 : 0;
}

Generator::Generator(std::vector<Value> values, Budget* budget)
    : items(std::move(values)),
      depth(depth_of_items(items)),
      charge(budget, sizeof(Generator) + items.size() * kValueBytes) {}

Value* Namespace::find(std::string_view name) {
  for (auto& [key, value] : attributes) {
    if (key == name) return &value;
  }
  return nullptr;
}

int depth_of(const Value& value) {
  if (const auto* list = value.get<ListRef>()) return (*list)->depth;
  if (const auto* dict = value.get<DictRef>()) return (*dict)->depth;
  if (const auto* view = value.get<ViewRef>()) return (*view)->dict->depth + 1;
  if (const auto* generator = value.get<GeneratorRef>()) return (*generator)->depth;
  if (const auto* native = value.get<NativeRef>()) return depth_of((*native)->self) + 1;
  return 0;
}

std::string_view type_name(const Value& value) {
  static constexpr std::string_view kNames[] = {
      "Undefined", "NoneType", "bool",      "int",      "float",     "str",   "list",        "dict",
      "dict view", "range",    "generator", "function", "Namespace", "Macro", "LoopContext", "int"};
  if (const auto* digits = value.get<Digits>(); digits != nullptr && !digits->whole) return "float";
  if (const auto* list = value.get<ListRef>(); list != nullptr && (*list)->tuple) return "tuple";
  return kNames[value.data().index()];
}

bool truthy(const Value& value) {
  if (value.is<Undefined>() || value.is<None>()) return false;
  if (const bool* flag = value.get<bool>()) return *flag;
  if (const int64_t* number = value.get<int64_t>()) return *number != 0;
  double real = 0;
  if (as_number(value, &real)) return real != 0;
  if (const auto* text = value.get<TextRef>()) return !(*text)->bytes.empty();
  if (const auto* list = value.get<ListRef>()) return !(*list)->items.empty();
  if (const auto* dict = value.get<DictRef>()) return !(*dict)->entries.empty();
  if (const auto* view = value.get<ViewRef>()) return !(*view)->dict->entries.empty();
  if (const auto* range = value.get<RangeRef>()) return (*range)->size() != 0;
  return true;
}

void fail_undefined(const Value& value) {
  const auto* none = value.get<Undefined>();
  fail(none != nullptr && none->why != nullptr ? *none->why : "a value is undefined");
}

Value undefined(std::string why) {
  return Undefined{std::make_shared<const std::string>(std::move(why))};
}

const std::string* as_string(const Value& value) {
  const auto* text = value.get<TextRef>();
  return text != nullptr ? &(*text)->bytes : nullptr;
}

bool as_int(const Value& value, int64_t* out) {
  if (const int64_t* number = value.get<int64_t>()) {
    *out = *number;
  } else if (const bool* flag = value.get<bool>()) {
    *out = *flag ? 1 : 0;
  } else {
    return false;
  }
  return true;
}

bool as_number(const Value& value, double* out) {
  int64_t number = 0;
  if (const double* real = value.get<double>()) {
    *out = *real;
  } else if (const auto* digits = value.get<Digits>()) {
    *out = std::strtod(digits->text->c_str(), nullptr);
  } else if (as_int(value, &number)) {
    *out = static_cast<double>(number);
  } else {
    return false;
  }
  return true;
}

bool equal(const Value& a, const Value& b, Budget& budget, int depth) {
  check_depth(depth);
  budget.step();
  bool same = false;
  if (equal_numbers(a, b, &same)) return same;
  if (a.data().index() != b.data().index()) return false;
  if (a.is<Undefined>() || a.is<None>()) return true;
  if (const auto* text = a.get<TextRef>()) {
    budget.work((*text)->bytes.size());
    return (*text)->bytes == *as_string(b);
  }
  if (const auto* list = a.get<ListRef>()) {
    const List& x = **list;
    const List& y = **b.get<ListRef>();
    if (x.tuple != y.tuple || x.items.size() != y.items.size()) return false;
    for (size_t i = 0; i < x.items.size(); ++i) {
      if (!equal(x.items[i], y.items[i], budget, depth + 1)) return false;
    }
    return true;
  }
  if (const auto* dict = a.get<DictRef>()) {
    return equal_dicts(**dict, **b.get<DictRef>(), budget, depth);
  }
  if (const auto* range = a.get<RangeRef>()) {
    const Range& x = **range;
    const Range& y = **b.get<RangeRef>();
    return x.size() == y.size() &&
           (x.size() == 0 || (x.start == y.start && (x.size() == 1 || x.step == y.step)));
  }
  if (const auto* name = a.get<Namespace*>()) return *name == *b.get<Namespace*>();
  if (const auto* macro = a.get<Macro*>()) return *macro == *b.get<Macro*>();
  if (const auto* loop = a.get<Loop*>()) return *loop == *b.get<Loop*>();
  if (const auto* generator = a.get<GeneratorRef>()) return *generator == *b.get<GeneratorRef>();
  if (const auto* native = a.get<NativeRef>()) {
    return (*native)->function == (*b.get<NativeRef>())->function;
  }
  return false;
}

int compare(const Value& a, const Value& b, Budget& budget, bool* unordered, int depth) {
  check_depth(depth);
  budget.step();
  int64_t int_a = 0;
  int64_t int_b = 0;
  if (as_int(a, &int_a) && as_int(b, &int_b)) return int_a < int_b ? -1 : int_a > int_b ? 1 : 0;
  double real_a = 0;
  double real_b = 0;
  if (as_number(a, &real_a) && as_number(b, &real_b)) {
    if (std::isnan(real_a) || std::isnan(real_b)) *unordered = true;
    return real_a < real_b ? -1 : real_a > real_b ? 1 : 0;
  }
  if (a.is<Undefined>()) fail_undefined(a);
  if (b.is<Undefined>()) fail_undefined(b);
  const std::string* text_a = as_string(a);
  const std::string* text_b = as_string(b);
  // Bytes of UTF-8 order as their code points do.
  if (text_a != nullptr && text_b != nullptr) {
    budget.work(std::min(text_a->size(), text_b->size()));
    return text_a->compare(*text_b);
  }
  const auto* list_a = a.get<ListRef>();
  const auto* list_b = b.get<ListRef>();
  if (list_a != nullptr && list_b != nullptr && (*list_a)->tuple == (*list_b)->tuple) {
    const auto& x = (*list_a)->items;
    const auto& y = (*list_b)->items;
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!equal(x[i], y[i], budget, depth + 1)) {
        return compare(x[i], y[i], budget, unordered, depth + 1);
      }
    }
    return x.size() < y.size() ? -1 : x.size() > y.size() ? 1 : 0;
  }
  fail(fmt::format("'{}' and '{}' have no order", type_name(a), type_name(b)));
}

bool hashable(const Value& value) {
  if (const auto* list = value.get<ListRef>()) {
    return (*list)->tuple && std::all_of((*list)->items.begin(), (*list)->items.end(),
                                         [](const Value& item) { return hashable(item); });
  }
  return !value.is<DictRef>() && !value.is<ViewRef>();
}

}  // namespace dak::jinja
