#pragma once

#include <string>

#include "engine/engine.h"

namespace dak {

// A conversation on the terminal: keeps history, streams, Ctrl-C stops the answer and not the
// program. `settings` holds everything but the prompt; `keep_history`: of the lines, in
// history_file(). Returns the exit status.
int chat(Engine& engine, const GenerateRequest& settings, const std::string& system,
         bool keep_history);

}  // namespace dak
