// Tests: value is name(...).
#include <vector>

#include "text/jinja/args.h"
#include "text/jinja/filters.h"
#include "text/jinja/operators.h"
#include "text/jinja/text.h"

namespace dak::jinja {
namespace {

bool is_defined(Interpreter&, const Value& input, const Args&) { return !input.is<Undefined>(); }
bool is_undefined(Interpreter&, const Value& input, const Args&) { return input.is<Undefined>(); }
bool is_none(Interpreter&, const Value& input, const Args&) { return input.is<None>(); }
bool is_string(Interpreter&, const Value& input, const Args&) { return input.is<TextRef>(); }
bool is_mapping(Interpreter&, const Value& input, const Args&) { return input.is<DictRef>(); }
bool is_boolean(Interpreter&, const Value& input, const Args&) { return input.is<bool>(); }
bool is_integer(Interpreter&, const Value& input, const Args&) {
  const auto* digits = input.get<Digits>();
  return input.is<int64_t>() || (digits != nullptr && digits->whole);
}
bool is_float(Interpreter&, const Value& input, const Args&) {
  const auto* digits = input.get<Digits>();
  return input.is<double>() || (digits != nullptr && !digits->whole);
}
bool is_number(Interpreter&, const Value& input, const Args&) {
  return input.is<bool>() || input.is<int64_t>() || input.is<double>() || input.is<Digits>();
}
bool is_true(Interpreter&, const Value& input, const Args&) {
  return input.is<bool>() && *input.get<bool>();
}
bool is_false(Interpreter&, const Value& input, const Args&) {
  return input.is<bool>() && !*input.get<bool>();
}
bool is_iterable(Interpreter&, const Value& input, const Args&) {
  return input.is<TextRef>() || input.is<ListRef>() || input.is<DictRef>() || input.is<ViewRef>() ||
         input.is<RangeRef>() || input.is<GeneratorRef>() || input.is<Undefined>() ||
         input.is<Loop*>();
}
bool is_sequence(Interpreter&, const Value& input, const Args&) {
  return input.is<TextRef>() || input.is<ListRef>() || input.is<DictRef>() ||
         input.is<RangeRef>() || input.is<Undefined>();
}
bool is_callable(Interpreter&, const Value& input, const Args&) {
  return input.is<NativeRef>() || input.is<Macro*>() || input.is<Loop*>() || input.is<Undefined>();
}

bool is_divisible(Interpreter& in, const Value& input, const Value& by) {
  return equal(binary(in, BinaryOp::kMod, input, by), Value(int64_t{0}), in.budget());
}
bool is_even(Interpreter& in, const Value& input, const Args&) {
  return is_divisible(in, input, Value(int64_t{2}));
}
bool is_odd(Interpreter& in, const Value& input, const Args&) {
  return equal(binary(in, BinaryOp::kMod, input, Value(int64_t{2})), Value(int64_t{1}),
               in.budget());
}
bool is_divisible_by(Interpreter& in, const Value& input, const Args& args) {
  return is_divisible(in, input, Bound("divisibleby", args, {"num"}, 1)[0]);
}

bool is_same(Interpreter&, const Value& input, const Args& args) {
  const Bound bound("sameas", args, {"other"}, 1);
  const Value& other = bound[0];
  if (input.data().index() != other.data().index()) return false;
  if (input.is<None>()) return true;
  if (const bool* flag = input.get<bool>()) return *flag == *other.get<bool>();
  // CPython shares small integers; whether others are the same object is up to its moods.
  if (const int64_t* number = input.get<int64_t>()) return *number == *other.get<int64_t>();
  if (const auto* text = input.get<TextRef>()) {
    return *text == *other.get<TextRef>() || (*text)->bytes == (*other.get<TextRef>())->bytes;
  }
  if (const auto* list = input.get<ListRef>()) return *list == *other.get<ListRef>();
  if (const auto* dict = input.get<DictRef>()) return *dict == *other.get<DictRef>();
  if (const auto* space = input.get<Namespace*>()) return *space == *other.get<Namespace*>();
  return false;
}

bool is_in(Interpreter& in, const Value& input, const Args& args) {
  return contains(in, Bound("in", args, {"seq"}, 1)[0], input);
}

template <CompareOp op>
bool is_compared(Interpreter& in, const Value& input, const Args& args) {
  return compare_values(in, op, input, Bound("comparison", args, {""}, 1)[0]);
}

bool has_case(Interpreter& in, const Value& input, std::string_view method) {
  Args none;
  const Value text = in.text(in.str(input));
  return truthy(in.call(in.attribute(text, std::string(method)), none));
}
bool is_lower_text(Interpreter& in, const Value& input, const Args&) {
  return has_case(in, input, "islower");
}
bool is_upper_text(Interpreter& in, const Value& input, const Args&) {
  return has_case(in, input, "isupper");
}

bool is_filter(Interpreter&, const Value& input, const Args&) {
  const std::string* name = as_string(input);
  return name != nullptr && find_filter(*name) != nullptr;
}
bool is_test(Interpreter&, const Value& input, const Args&) {
  const std::string* name = as_string(input);
  return name != nullptr && find_test(*name) != nullptr;
}
bool is_escaped(Interpreter&, const Value&, const Args&) { return false; }

struct NamedTest {
  std::string_view name;
  TestFunction function;
};

const std::vector<NamedTest>& tests() {
  static const std::vector<NamedTest> kTests = {
      {"defined", is_defined},
      {"undefined", is_undefined},
      {"none", is_none},
      {"string", is_string},
      {"mapping", is_mapping},
      {"iterable", is_iterable},
      {"sequence", is_sequence},
      {"number", is_number},
      {"integer", is_integer},
      {"float", is_float},
      {"boolean", is_boolean},
      {"true", is_true},
      {"false", is_false},
      {"odd", is_odd},
      {"even", is_even},
      {"divisibleby", is_divisible_by},
      {"sameas", is_same},
      {"in", is_in},
      {"callable", is_callable},
      {"lower", is_lower_text},
      {"upper", is_upper_text},
      {"filter", is_filter},
      {"test", is_test},
      {"escaped", is_escaped},
      {"equalto", is_compared<CompareOp::kEq>},
      {"eq", is_compared<CompareOp::kEq>},
      {"==", is_compared<CompareOp::kEq>},
      {"ne", is_compared<CompareOp::kNe>},
      {"!=", is_compared<CompareOp::kNe>},
      {"gt", is_compared<CompareOp::kGt>},
      {"greaterthan", is_compared<CompareOp::kGt>},
      {">", is_compared<CompareOp::kGt>},
      {"ge", is_compared<CompareOp::kGe>},
      {">=", is_compared<CompareOp::kGe>},
      {"lt", is_compared<CompareOp::kLt>},
      {"lessthan", is_compared<CompareOp::kLt>},
      {"<", is_compared<CompareOp::kLt>},
      {"le", is_compared<CompareOp::kLe>},
      {"<=", is_compared<CompareOp::kLe>},
  };
  return kTests;
}

}  // namespace

TestFunction find_test(std::string_view name) {
  for (const NamedTest& test : tests()) {
    if (test.name == name) return test.function;
  }
  return nullptr;
}

}  // namespace dak::jinja
