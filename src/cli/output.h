// What commands say: results on standard output, which must arrive, and notes on standard error,
// which may be lost. Nothing else in src/cli writes to either, but for libedit, to terminals.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace dak {

// Standard output takes no more. No Error: nothing that a command does may go on after it.
class OutputError : public std::runtime_error {
 public:
  explicit OutputError(int error);
  bool reader_gone() const { return reader_gone_; }  // of a pipe: it has read all it wants

 private:
  bool reader_gone_;
};

// First of all in main: opens /dev/null as those of the descriptors 0 to 2 that are closed, so that
// no file or socket gets their numbers, and lets writes to a pipe that nobody reads fail instead of
// ending the program. Such a standard input is empty.
void secure_standard_descriptors();

// Standard output, in order, of the main thread. What is printed may wait until flush_output or
// until it is much; both throw OutputError.
void print_text(std::string_view text);
void flush_output();

template <typename... Args>
void print_out(fmt::format_string<Args...> format, Args&&... args) {
  print_text(fmt::format(format, std::forward<Args>(args)...));
}

// Standard error, at once, any thread. What it does not take is lost.
void note_text(std::string_view text) noexcept;

template <typename... Args>
void print_err(fmt::format_string<Args...> format, Args&&... args) {
  note_text(fmt::format(format, std::forward<Args>(args)...));
}

// Likewise, for a server's threads: where the reader of standard error does not keep up, a line is
// dropped rather than waited for.
void log_line(std::string_view line) noexcept;
int64_t lost_log_lines();

// All of standard input. Throws kIo.
std::string read_standard_input();

}  // namespace dak
