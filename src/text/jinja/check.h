// A look over the whole tree for filters and tests that do not exist.
#pragma once

#include <string_view>

#include "text/jinja/ast.h"

namespace dak::jinja {

// Throws kUnsupported naming the line. As in jinja2, an unknown name inside an `if` is left to fail
// when it is reached: templates guard what only some engines have.
void check_names(const Block& block, std::string_view where);

}  // namespace dak::jinja
