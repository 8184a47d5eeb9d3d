// Methods and attributes of values: "text".strip(), mapping.items(), loop.index.
#pragma once

#include <string_view>
#include <vector>

#include "text/jinja/interpreter.h"

namespace dak::jinja {

struct NamedMethod {
  std::string_view name;
  NativeFunction function;
};
const std::vector<NamedMethod>& text_methods();
const std::vector<NamedMethod>& dict_methods();
const std::vector<NamedMethod>& list_methods();

// The method of the type, bound to the value; undefined when the type has no such method or the
// sandbox forbids it because it changes the value.
Value find_method(const Value& object, std::string_view name);
Value loop_attribute(Interpreter& in, Loop& loop, std::string_view name);

}  // namespace dak::jinja
