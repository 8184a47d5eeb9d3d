// Markup: text marked by `safe` or `escape`. Nothing is escaped by itself here (autoescape is off),
// but what a template joins to markup is, and real templates that use `safe` depend on it.
#pragma once

#include "text/jinja/interpreter.h"

namespace dak::jinja {

bool is_markup(const Value& value);
// The value as markup: escaped for HTML unless it is markup already.
Value escaped(Interpreter& in, const Value& value);
// Text, or the texts in a list or tuple, marked as they are.
Value as_markup(Interpreter& in, const Value& value);
// The values of a % format with their texts escaped.
Value escaped_values(Interpreter& in, const Value& values);
// A method of markup gives markup, and escapes the text it puts in.
Value call_markup_method(Interpreter& in, const Native& method, Args& args);

}  // namespace dak::jinja
