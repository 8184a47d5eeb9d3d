// Lines of standard input, for a chat: edited, with a history, where the terminal can; else as the
// terminal gives them.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "cli/terminal.h"

namespace dak {

struct Line {
  std::string text;          // may have newlines of its own: a paste of several lines
  bool interrupted = false;  // by Ctrl-C, and empty
};

class LineSource {
 public:
  virtual ~LineSource() = default;
  // Writes the prompt and waits; nullopt at the end of input (Ctrl-D).
  virtual std::optional<Line> next() = 0;
};

// $XDG_STATE_HOME/dak/history (~/.local/state without it); nullopt where neither it nor HOME is
// set.
std::optional<std::filesystem::path> history_file();

// With libedit where standard input and output are terminals that move their cursor. `history`: a
// file, made with mode 0600, for the lines; nullopt: they are kept while the source lives. A file
// that cannot be written is said once on stderr. `interrupt` outlives the source.
std::unique_ptr<LineSource> line_source(const InterruptGuard& interrupt,
                                        const std::optional<std::filesystem::path>& history);

}  // namespace dak
