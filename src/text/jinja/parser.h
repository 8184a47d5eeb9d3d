// Tokens to a syntax tree, after jinja2's grammar with the loopcontrols extension and
// transformers' generation blocks.
#pragma once

#include <string_view>

#include "text/jinja/ast.h"

namespace dak::jinja {

// Throws dak::Error: kCorrupt for what is not Jinja, kUnsupported for what dak does not do
// (inheritance, includes, recursive loops, unknown filters and tests), each with the line.
Block parse_template(std::string_view source, std::string_view where);

}  // namespace dak::jinja
