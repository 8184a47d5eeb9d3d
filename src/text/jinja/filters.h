// Filters (value | name(...)) and tests (value is name(...)), found by name.
#pragma once

#include <string_view>

#include "text/jinja/interpreter.h"

namespace dak::jinja {

using FilterFunction = Value (*)(Interpreter&, const Value& input, const Args& args);
using TestFunction = bool (*)(Interpreter&, const Value& input, const Args& args);

FilterFunction find_filter(std::string_view name);  // null: there is none
TestFunction find_test(std::string_view name);

// value.a.b or value[0] for the path "a.b" or 0, as filters take attributes.
Value item_at_path(Interpreter& in, const Value& value, const Value& path);

struct NamedFilter {
  std::string_view name;
  FilterFunction function;
};
// The filters by family; find_filter looks in all.
const std::vector<NamedFilter>& text_filters();
const std::vector<NamedFilter>& sequence_filters();
const std::vector<NamedFilter>& number_filters();
const std::vector<NamedFilter>& document_filters();
// What one of jinja2's filters does that dak has none of; empty: it is not known why.
std::string_view why_no_filter(std::string_view name);

}  // namespace dak::jinja
