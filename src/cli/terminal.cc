#include "cli/terminal.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/units.h"
#include "cli/output.h"

namespace dak {
namespace {

std::atomic<bool> interrupted{false};
struct sigaction previous_action {};
std::array<int, 2> interrupt_pipe{-1, -1};

void on_interrupt(int) {
  if (interrupted.exchange(true)) _exit(128 + SIGINT);
  const int saved_errno = errno;
  const char byte = 0;
  if (write(interrupt_pipe[1], &byte, 1) < 0) {
    // The flag alone must do: the pipe is full or gone, and a handler can say nothing.
  }
  errno = saved_errno;
}

constexpr int kBarWidth = 24;
constexpr double kRedrawSeconds = 0.1;
constexpr auto kLineTime = std::chrono::seconds(10);  // between lines where nothing is redrawn
constexpr size_t kLeastColumns = 2;

std::string_view variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string_view() : value;
}

size_t columns(int fd) {
  winsize size{};
  if (ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return std::max<size_t>(size.ws_col, kLeastColumns);
}

}  // namespace

bool is_terminal(int fd) { return isatty(fd) != 0; }

bool moves_cursor(int fd) {
  const std::string_view terminal = variable("TERM");
  return is_terminal(fd) && !terminal.empty() && terminal != "dumb";
}

Style::Style(int fd) {
  const std::string_view forced = variable("CLICOLOR_FORCE");
  const bool wanted = moves_cursor(fd) && variable("CLICOLOR") != "0";
  if (!variable("NO_COLOR").empty() || !(wanted || (!forced.empty() && forced != "0"))) return;
  bold = "\x1b[1m";
  dim = "\x1b[2m";
  red = "\x1b[31m";
  green = "\x1b[32m";
  cyan = "\x1b[36m";
  reset = "\x1b[0m";
}

StatusLine::StatusLine()
    : moves_cursor_(moves_cursor(STDERR_FILENO)),
      line_due_(std::chrono::steady_clock::now() + kLineTime) {}

void StatusLine::show(const std::string& text) {
  if (moves_cursor_) {
    drawn_ = true;
    print_err("\r{}\x1b[K", text.substr(0, columns(STDERR_FILENO) - 1));
    return;
  }
  const auto now = std::chrono::steady_clock::now();
  if (now < line_due_) return;
  line_due_ = now + kLineTime;
  print_err("dak: {}\n", text);
}

void StatusLine::clear() {
  if (!std::exchange(drawn_, false)) return;
  print_err("\r\x1b[K");
}

void ProgressBar::update(const Progress& progress) {
  const bool done = progress.done_bytes >= progress.total_bytes;
  // Seconds that fall back: other work has begun.
  const bool drawn_lately =
      progress.seconds >= drawn_at_ && progress.seconds - drawn_at_ < kRedrawSeconds;
  if (!done && drawn_lately) return;
  drawn_at_ = progress.seconds;
  const double share = progress.total_bytes > 0 ? static_cast<double>(progress.done_bytes) /
                                                      static_cast<double>(progress.total_bytes)
                                                : 1.0;
  const double rate =
      progress.seconds > 0 ? static_cast<double>(progress.done_bytes) / progress.seconds : 0;
  const double left =
      rate > 0 ? static_cast<double>(progress.total_bytes - progress.done_bytes) / rate : 0;
  const auto filled = static_cast<size_t>(std::clamp(share, 0.0, 1.0) * kBarWidth);
  const auto seconds = static_cast<int64_t>(std::lround(left));
  line_.show(fmt::format("{} {:3.0f} % [{}{}] {} of {}  {}  {}:{:02} left", progress.what,
                         share * 100, std::string(filled, '#'),
                         std::string(kBarWidth - filled, ' '), format_bytes(progress.done_bytes),
                         format_bytes(progress.total_bytes), format_rate(rate), seconds / 60,
                         seconds % 60));
}

void ProbeLine::show(std::string_view what, double share) {
  line_.show(fmt::format("{} {:3.0f} % {}", work_, 100 * std::clamp(share, 0.0, 1.0), what));
}

InterruptGuard::InterruptGuard() {
  interrupted = false;
  if (pipe2(interrupt_pipe.data(), O_CLOEXEC | O_NONBLOCK) != 0) {
    throw Error(ErrorCode::kIo, {"pipe", "", "", std::strerror(errno), "raise ulimit -n"});
  }
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  sigaction(SIGINT, &action, &previous_action);
}

InterruptGuard::~InterruptGuard() {
  sigaction(SIGINT, &previous_action, nullptr);
  for (int& end : interrupt_pipe) close(std::exchange(end, -1));
}

const std::atomic<bool>& InterruptGuard::flag() const { return interrupted; }
int InterruptGuard::fd() const { return interrupt_pipe[0]; }

void InterruptGuard::reset() {
  char byte = 0;
  while (read(interrupt_pipe[0], &byte, 1) == 1) {
  }
  interrupted = false;
}

}  // namespace dak
