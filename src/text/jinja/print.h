// Values as text: Python's str() and repr(), and json.dumps().
#pragma once

#include <string>
#include <string_view>

#include "text/jinja/value.h"

namespace dak::jinja {

std::string to_str(const Value& value, Budget& budget);
std::string to_repr(const Value& value, Budget& budget);
std::string format_float(double number);          // repr(float): shortest that reads back
std::string quote_string(std::string_view text);  // repr(str)

struct JsonStyle {
  bool ensure_ascii = false;
  bool indented = false;
  std::string indent;  // of one level, when indented
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sort_keys = false;
};
std::string to_json(const Value& value, const JsonStyle& style, Budget& budget);

}  // namespace dak::jinja
