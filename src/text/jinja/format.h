// Python's two ways to format: "%s" % value and "{}".format(value). The common part of both.
#pragma once

#include <string>
#include <string_view>

#include "text/jinja/interpreter.h"

namespace dak::jinja {

Value format_percent(Interpreter& in, const std::string& format, const Value& values);
Value format_braces(Interpreter& in, const std::string& format, const Args& args);

}  // namespace dak::jinja
