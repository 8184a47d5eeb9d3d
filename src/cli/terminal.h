// The terminal: colours only where there is one, progress bars, Ctrl-C.
#pragma once

#include <atomic>
#include <stdexcept>
#include <string>
#include <string_view>

#include "base/progress.h"

namespace dak {

bool is_terminal(int fd);

// The work was cancelled by Ctrl-C.
struct Interrupted : std::runtime_error {
  Interrupted() : std::runtime_error("interrupted") {}
};

// ANSI styles, empty strings when `fd` is not a terminal or NO_COLOR is set.
struct Style {
  explicit Style(int fd);
  std::string bold, dim, red, green, cyan, reset;
};

// Draws `loading weights  62 % [######    ]  1.20 GiB  2.1 GB/s  0:03 left` on stderr: redrawn in
// place on a terminal, silent elsewhere. `clear()` leaves no trace.
class ProgressBar {
 public:
  ProgressBar();
  void update(const Progress& progress);
  void clear();

 private:
  bool terminal_;
  double drawn_at_ = -1;
};

// Draws `probing  62 % host: windows of 8 readers` on stderr as ProgressBar does; leaves no trace.
class ProbeLine {
 public:
  explicit ProbeLine(std::string_view work = "probing");  // a literal
  ~ProbeLine();
  ProbeLine(const ProbeLine&) = delete;
  ProbeLine& operator=(const ProbeLine&) = delete;
  void show(std::string_view what, double share);  // share: 0 to 1

 private:
  std::string_view work_;
  bool terminal_;
  bool drawn_ = false;
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
