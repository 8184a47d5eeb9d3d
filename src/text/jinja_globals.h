// What every chat template finds by name: range, dict, namespace, raise_exception, strftime_now.
#pragma once

#include "text/jinja_interpreter.h"

namespace dak::jinja {

void add_globals(Scope& scope);

}  // namespace dak::jinja
