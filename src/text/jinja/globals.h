// What every chat template finds by name: range, dict, namespace, raise_exception, strftime_now.
#pragma once

#include "text/jinja/interpreter.h"

namespace dak::jinja {

void add_globals(Scope& scope);

}  // namespace dak::jinja
