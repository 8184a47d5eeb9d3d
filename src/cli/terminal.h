// The terminal: colours only where there is one, progress bars, Ctrl-C.
#pragma once

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <string_view>

#include "base/progress.h"

namespace dak {

bool is_terminal(int fd);
// Is it one that moves its cursor where it is told to: TERM is there and not dumb?
bool moves_cursor(int fd);

// The work was cancelled by Ctrl-C.
struct Interrupted : std::runtime_error {
  Interrupted() : std::runtime_error("interrupted") {}
};

// ANSI styles; empty strings where `fd` shows none: it is no terminal or a dumb one, NO_COLOR is
// set to anything or CLICOLOR to 0. CLICOLOR_FORCE, set to anything but 0, asks for them on what is
// no terminal; NO_COLOR is stronger.
struct Style {
  explicit Style(int fd);
  std::string bold, dim, red, green, cyan, reset;
};

// What is under way, on stderr. Redrawn in place, cut to the terminal's width, where the cursor
// moves; elsewhere a line now and then, so that quick work is silent.
class StatusLine {
 public:
  StatusLine();
  ~StatusLine() { clear(); }
  StatusLine(const StatusLine&) = delete;
  StatusLine& operator=(const StatusLine&) = delete;
  void show(const std::string& text);
  void clear();

 private:
  bool moves_cursor_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point line_due_;
};

// Draws `loading weights  62 % [######    ]  1.20 GiB  2.1 GB/s  0:03 left` on a StatusLine.
class ProgressBar {
 public:
  void update(const Progress& progress);
  void clear() { line_.clear(); }

 private:
  StatusLine line_;
  double drawn_at_ = -1;
};

// Draws `probing  62 % host: windows of 8 readers` on a StatusLine.
class ProbeLine {
 public:
  explicit ProbeLine(std::string_view work = "probing") : work_(work) {}  // a literal
  void show(std::string_view what, double share);                         // share: 0 to 1

 private:
  std::string_view work_;
  StatusLine line_;
};

// While one lives, Ctrl-C sets a flag instead of ending the program; a second one ends it.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
  const std::atomic<bool>& flag() const;
  // Readable while an interrupt is pending: what waits for input polls it as well, so that one that
  // comes just before the wait is not missed.
  int fd() const;
  void reset();
};

}  // namespace dak
