#pragma once

#include <string>

#include "engine/engine.h"

namespace dak {

struct ChatOptions {
  std::string system;  // empty: no such message
  bool split_special_tokens = false;
  bool keep_history = true;  // of the lines, in history_file()
};

// A conversation on the terminal: keeps history, streams, Ctrl-C stops the answer and not the
// program. `settings` holds everything but the prompt. Returns the exit status.
int chat(Engine& engine, const GenerateRequest& settings, const ChatOptions& options);

}  // namespace dak
