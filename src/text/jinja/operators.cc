#include "text/jinja/operators.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "text/jinja/format.h"
#include "text/jinja/markup.h"
#include "text/jinja/text.h"

namespace dak::jinja {
namespace {

constexpr int64_t kMinInt = std::numeric_limits<int64_t>::min();

[[noreturn]] void fail_overflow() { fail("an integer does not fit 64 bits"); }

constexpr std::string_view kSymbols[] = {"+", "-", "*", "/", "//", "%", "**"};

int64_t floor_divide(int64_t a, int64_t b) {
  if (b == 0) fail("division by zero");
  if (a == kMinInt && b == -1) fail_overflow();
  return a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
}

int64_t floor_modulo(int64_t a, int64_t b) {
  if (b == 0) fail("division by zero");
  if (b == -1) return 0;
  const int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

Value int_power(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) fail("0 cannot be raised to a negative power");
    return std::pow(static_cast<double>(base), static_cast<double>(exponent));
  }
  int64_t result = 1;
  bool base_overflowed = false;
  for (; exponent > 0; exponent /= 2) {
    if (exponent % 2 == 1 && (base_overflowed || __builtin_mul_overflow(result, base, &result))) {
      fail_overflow();
    }
    if (exponent > 1) base_overflowed |= __builtin_mul_overflow(base, base, &base);
  }
  return result;
}

Value int_binary(BinaryOp op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  switch (op) {
    case BinaryOp::kAdd:
      overflow = __builtin_add_overflow(a, b, &result);
      break;
    case BinaryOp::kSub:
      overflow = __builtin_sub_overflow(a, b, &result);
      break;
    case BinaryOp::kMul:
      overflow = __builtin_mul_overflow(a, b, &result);
      break;
    case BinaryOp::kDiv:
      if (b == 0) fail("division by zero");
      return static_cast<double>(a) / static_cast<double>(b);
    case BinaryOp::kFloorDiv:
      return floor_divide(a, b);
    case BinaryOp::kMod:
      return floor_modulo(a, b);
    case BinaryOp::kPow:
      return int_power(a, b);
  }
  if (overflow) fail_overflow();
  return result;
}

// fmod with the sign of the divisor.
double float_modulo(double a, double b) {
  const double rest = std::fmod(a, b);
  if (rest == 0) return std::copysign(0.0, b);
  return (rest < 0) != (b < 0) ? rest + b : rest;
}

double float_floor_divide(double a, double b) {
  const double quotient = (a - float_modulo(a, b)) / b;
  if (quotient == 0) return std::copysign(0.0, a / b);
  const double floored = std::floor(quotient);
  return quotient - floored > 0.5 ? floored + 1 : floored;
}

Value float_power(double a, double b) {
  if (a == 0 && b < 0) fail("0 cannot be raised to a negative power");
  if (a < 0 && std::isfinite(a) && std::isfinite(b) && b != std::floor(b)) {
    fail_unsupported("a complex number");
  }
  const double result = std::pow(a, b);
  if (std::isinf(result) && std::isfinite(a) && std::isfinite(b)) fail("a number is out of range");
  return result;
}

Value float_binary(BinaryOp op, double a, double b) {
  const bool divides = op == BinaryOp::kDiv || op == BinaryOp::kFloorDiv || op == BinaryOp::kMod;
  if (divides && b == 0) fail("division by zero");
  switch (op) {
    case BinaryOp::kAdd:
      return a + b;
    case BinaryOp::kSub:
      return a - b;
    case BinaryOp::kMul:
      return a * b;
    case BinaryOp::kDiv:
      return a / b;
    case BinaryOp::kFloorDiv:
      return float_floor_divide(a, b);
    case BinaryOp::kMod:
      return float_modulo(a, b);
    case BinaryOp::kPow:
      return float_power(a, b);
  }
  return {};
}

// How often to repeat something of `size`, checked against the bounds before it is made.
size_t repeat_count(Interpreter& in, int64_t times, size_t size, size_t unit_bytes) {
  if (times <= 0 || size == 0) return 0;
  const auto count = static_cast<uint64_t>(times);
  if (count > kMaxOutputBytes / (size * unit_bytes)) {
    fail_exhausted(fmt::format("a repetition makes more than {} MiB", kMaxOutputBytes >> 20));
  }
  in.budget().work(count * size * unit_bytes);
  return count;
}

// Text or list times int; undefined when the types are others.
std::optional<Value> repeat(Interpreter& in, const Value& what, const Value& times) {
  int64_t number = 0;
  if (!as_int(times, &number)) return std::nullopt;
  if (const std::string* text = as_string(what)) {
    const size_t count = repeat_count(in, number, text->size(), 1);
    std::string out(text->size() == 1 ? count : 0, text->empty() ? ' ' : text->front());
    out.reserve(count * text->size());
    for (size_t i = 0; text->size() > 1 && i < count; ++i) out += *text;
    return in.text(std::move(out), is_markup(what));
  }
  if (const auto* list = what.get<ListRef>()) {
    const std::vector<Value>& items = (*list)->items;
    const size_t count = repeat_count(in, number, items.size(), sizeof(Value));
    std::vector<Value> out;
    for (size_t i = 0; i < count; ++i) out.insert(out.end(), items.begin(), items.end());
    return (*list)->tuple ? in.tuple(std::move(out)) : in.list(std::move(out));
  }
  return std::nullopt;
}

std::optional<Value> concatenate(Interpreter& in, const Value& a, const Value& b) {
  const std::string* text_a = as_string(a);
  const std::string* text_b = as_string(b);
  if (text_a != nullptr && text_b != nullptr) {
    if (is_markup(a) != is_markup(b)) {
      return concatenate(in, escaped(in, a), escaped(in, b));
    }
    in.budget().check_text(text_a->size() + text_b->size());
    return in.text(*text_a + *text_b, is_markup(a));
  }
  const auto* list_a = a.get<ListRef>();
  const auto* list_b = b.get<ListRef>();
  if (list_a != nullptr && list_b != nullptr && (*list_a)->tuple == (*list_b)->tuple) {
    std::vector<Value> items = (*list_a)->items;
    items.insert(items.end(), (*list_b)->items.begin(), (*list_b)->items.end());
    return (*list_a)->tuple ? in.tuple(std::move(items)) : in.list(std::move(items));
  }
  return std::nullopt;
}

// Python would compute with all digits.
bool is_large(const Value& value) {
  const auto* digits = value.get<Digits>();
  return digits != nullptr && digits->whole;
}

}  // namespace

Value binary(Interpreter& in, BinaryOp op, const Value& a, const Value& b) {
  int64_t int_a = 0;
  int64_t int_b = 0;
  if (as_int(a, &int_a) && as_int(b, &int_b)) return int_binary(op, int_a, int_b);
  if (is_large(a) || is_large(b)) fail_overflow();
  double real_a = 0;
  double real_b = 0;
  if (as_number(a, &real_a) && as_number(b, &real_b)) return float_binary(op, real_a, real_b);
  const std::string* format = as_string(a);
  if (op == BinaryOp::kMod && format != nullptr) {
    return is_markup(a) ? as_markup(in, format_percent(in, *format, escaped_values(in, b)))
                        : format_percent(in, *format, b);
  }
  if (a.is<Undefined>()) fail_undefined(a);
  if (b.is<Undefined>()) fail_undefined(b);
  std::optional<Value> result;
  if (op == BinaryOp::kAdd) result = concatenate(in, a, b);
  if (op == BinaryOp::kMul) result = repeat(in, a, b);
  if (op == BinaryOp::kMul && !result) result = repeat(in, b, a);
  if (result) return *result;
  const char* hint = op == BinaryOp::kAdd && (format != nullptr || as_string(b) != nullptr)
                         ? " (text is joined to other values with ~)"
                         : "";
  fail(fmt::format("'{}' does not work on '{}' and '{}'{}", kSymbols[static_cast<size_t>(op)],
                   type_name(a), type_name(b), hint));
}

Value negate(const Value& value) {
  int64_t number = 0;
  if (as_int(value, &number)) {
    if (number == kMinInt) fail_overflow();
    return -number;
  }
  if (const double* real = value.get<double>()) return -*real;
  if (value.is<Undefined>()) fail_undefined(value);
  fail(fmt::format("a {} has no negative", type_name(value)));
}

Value plus(const Value& value) {
  int64_t number = 0;
  if (as_int(value, &number)) return number;
  if (value.is<double>()) return value;
  if (value.is<Undefined>()) fail_undefined(value);
  fail(fmt::format("'+' does not work on a {}", type_name(value)));
}

bool compare_values(Interpreter& in, CompareOp op, const Value& a, const Value& b) {
  switch (op) {
    case CompareOp::kEq:
      return equal(a, b, in.budget());
    case CompareOp::kNe:
      return !equal(a, b, in.budget());
    case CompareOp::kIn:
      return contains(in, b, a);
    case CompareOp::kNotIn:
      return !contains(in, b, a);
    default:
      break;
  }
  bool unordered = false;
  const int order = compare(a, b, in.budget(), &unordered);
  if (unordered) return false;
  switch (op) {
    case CompareOp::kLt:
      return order < 0;
    case CompareOp::kLe:
      return order <= 0;
    case CompareOp::kGt:
      return order > 0;
    default:
      return order >= 0;
  }
}

bool contains(Interpreter& in, const Value& container, const Value& what) {
  if (const std::string* text = as_string(container)) {
    const std::string* part = as_string(what);
    if (part == nullptr) {
      fail(fmt::format("'in' a string needs a string, not a {}", type_name(what)));
    }
    in.budget().work(text->size());
    return text->find(*part) != std::string::npos;
  }
  const auto* view = container.get<ViewRef>();
  const auto* dict = container.get<DictRef>();
  if (dict == nullptr && view != nullptr && (*view)->part == View::Part::kKeys) {
    dict = &(*view)->dict;
  }
  if (dict != nullptr) {
    if (!hashable(what)) fail(fmt::format("a {} cannot be a key", type_name(what)));
    in.budget().step(1 + (*dict)->entries.size() / 16);
    return (*dict)->find(what, in.budget()) != nullptr;
  }
  if (const auto* list = container.get<ListRef>()) {
    return std::any_of((*list)->items.begin(), (*list)->items.end(),
                       [&](const Value& item) { return equal(item, what, in.budget()); });
  }
  for (const Value& item : in.iterate(container)) {
    if (equal(item, what, in.budget())) return true;
  }
  return false;
}

Value slice(Interpreter& in, const Value& object, std::optional<int64_t> start,
            std::optional<int64_t> stop, int64_t step) {
  if (object.is<Undefined>()) fail_undefined(object);
  if (step == 0) fail("a slice's step cannot be zero");
  const auto* text = object.get<TextRef>();
  const auto* list = object.get<ListRef>();
  if (text == nullptr && list == nullptr) {
    fail(fmt::format("a {} cannot be sliced", type_name(object)));
  }
  std::vector<size_t> offsets;
  if (text != nullptr && !(*text)->ascii) offsets = code_point_offsets((*text)->bytes);
  in.budget().work(text != nullptr ? (*text)->bytes.size() : 0);
  const auto size = static_cast<int64_t>(list != nullptr   ? (*list)->items.size()
                                         : offsets.empty() ? (*text)->bytes.size()
                                                           : offsets.size() - 1);
  const int64_t lowest = step > 0 ? 0 : -1;
  const int64_t highest = step > 0 ? size : size - 1;
  const auto clamp = [&](int64_t bound) {
    if (bound < 0) bound = bound < -size ? lowest : bound + size;
    return std::clamp(bound, lowest, highest);
  };
  int64_t at = start ? clamp(*start) : (step > 0 ? lowest : highest);
  const int64_t end = stop ? clamp(*stop) : (step > 0 ? highest : lowest);
  std::string out;
  std::vector<Value> items;
  while (step > 0 ? at < end : at > end) {
    const auto i = static_cast<size_t>(at);
    if (list != nullptr) {
      items.push_back((*list)->items[i]);
    } else if (offsets.empty()) {
      out += (*text)->bytes[i];
    } else {
      out.append((*text)->bytes, offsets[i], offsets[i + 1] - offsets[i]);
    }
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  if (text != nullptr) return in.text(std::move(out), (*text)->markup);
  return (*list)->tuple ? in.tuple(std::move(items)) : in.list(std::move(items));
}

int64_t length(const Value& value) {
  if (value.is<Undefined>()) return 0;
  if (const auto* text = value.get<TextRef>()) {
    return static_cast<int64_t>((*text)->ascii ? (*text)->bytes.size()
                                               : count_code_points((*text)->bytes));
  }
  if (const auto* list = value.get<ListRef>()) return static_cast<int64_t>((*list)->items.size());
  if (const auto* dict = value.get<DictRef>()) return static_cast<int64_t>((*dict)->entries.size());
  if (const auto* view = value.get<ViewRef>()) {
    return static_cast<int64_t>((*view)->dict->entries.size());
  }
  if (const auto* range = value.get<RangeRef>()) return (*range)->size();
  if (const auto* loop = value.get<Loop*>()) return (*loop)->length();
  fail(fmt::format("a {} has no length", type_name(value)));
}

void put_entry(Interpreter& in, std::vector<Dict::Entry>& entries, const Value& key, Value value) {
  if (!hashable(key)) fail(fmt::format("a {} cannot be a key", type_name(key)));
  for (auto& [old_key, old_value] : entries) {
    if (equal(old_key, key, in.budget())) {
      old_value = std::move(value);
      return;
    }
  }
  entries.emplace_back(key, std::move(value));
}

}  // namespace dak::jinja
