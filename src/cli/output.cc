#include "cli/output.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstring>
#include <mutex>
#include <utility>

#include "base/error.h"

namespace dak {
namespace {

constexpr size_t kMostWaiting = size_t{16} << 10;
constexpr int kLogPatienceMs = 200;  // for a reader that has kept up so far

std::string& waiting() {
  static std::string text;
  return text;
}

bool can_take(int fd, int timeout_ms) {
  pollfd polled{fd, POLLOUT, 0};
  return poll(&polled, 1, timeout_ms) > 0;
}

// 0, or why not all was written. A descriptor that another program has made non-blocking is waited
// for.
int write_all(int fd, std::string_view text) noexcept {
  while (!text.empty()) {
    const ssize_t written = write(fd, text.data(), text.size());
    if (written > 0) {
      text.remove_prefix(static_cast<size_t>(written));
    } else if (written < 0 && errno == EAGAIN) {
      can_take(fd, -1);
    } else if (written < 0 && errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

std::atomic<int64_t> lost_lines{0};

}  // namespace

OutputError::OutputError(int error)
    : std::runtime_error(fmt::format("cannot write to standard output: {}", std::strerror(error))),
      reader_gone_(error == EPIPE) {}

void secure_standard_descriptors() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    // The lowest free number: this one. A root without /dev has at least itself.
    if (open("/dev/null", fd == STDIN_FILENO ? O_RDONLY : O_WRONLY) < 0) open("/", O_RDONLY);
  }
  std::signal(SIGPIPE, SIG_IGN);
}

void print_text(std::string_view text) {
  static const bool seen_at_once = isatty(STDOUT_FILENO) != 0;
  waiting() += text;
  if (seen_at_once || waiting().size() >= kMostWaiting) flush_output();
}

void flush_output() {
  // Not twice: what could not be written now cannot be written at the end either.
  const std::string text = std::exchange(waiting(), {});
  if (const int error = write_all(STDOUT_FILENO, text); error != 0) throw OutputError(error);
}

void note_text(std::string_view text) noexcept { write_all(STDERR_FILENO, text); }

void log_line(std::string_view line) noexcept {
  static std::mutex mutex;
  static bool stuck = false;
  const std::lock_guard lock(mutex);
  // A pipe that can take anything takes PIPE_BUF bytes without waiting.
  const std::string_view start = line.substr(0, PIPE_BUF - 1);
  stuck = !can_take(STDERR_FILENO, stuck ? 0 : kLogPatienceMs);
  std::array<char, PIPE_BUF> bytes;
  start.copy(bytes.data(), start.size());
  bytes[start.size()] = '\n';
  if (stuck || write_all(STDERR_FILENO, {bytes.data(), start.size() + 1}) != 0) ++lost_lines;
}

int64_t lost_log_lines() { return lost_lines; }

std::string read_standard_input() {
  std::string text;
  std::array<char, 16384> piece;
  while (true) {
    const ssize_t got = read(STDIN_FILENO, piece.data(), piece.size());
    if (got == 0) return text;
    if (got > 0) {
      text.append(piece.data(), static_cast<size_t>(got));
    } else if (errno == EAGAIN) {
      pollfd polled{STDIN_FILENO, POLLIN, 0};
      poll(&polled, 1, -1);
    } else if (errno != EINTR) {
      throw Error(ErrorCode::kIo, {.where = "standard input",
                                   .field = {},
                                   .value = {},
                                   .problem = fmt::format("cannot read: {}", std::strerror(errno)),
                                   .fix = "give the prompt with -p"});
    }
  }
}

}  // namespace dak
