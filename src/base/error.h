// The one exception type that dak's libraries throw for anything a user or a file can cause.
#pragma once

#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace dak {

enum class ErrorCode {
  kInvalidArgument,    // a flag, a request field or a configuration value
  kNotFound,           // a file, a tensor or a token that must be there
  kCorrupt,            // a file whose bytes contradict its format
  kUnsupported,        // well formed, and not something dak can do
  kResourceExhausted,  // a budget, a context or a machine that is too small
  kIo,                 // the operating system refused
  kUnavailable,        // not now: the server is shutting down
  kDeadlineExceeded,   // was not done by the time that the caller gave
  kInternal,           // a bug in dak
};

// What went wrong, as one line: "<where>: <field> <value>: <problem>; <fix>".
// Each part may be empty. `where` is a file path, a flag name or a request field's owner.
struct ErrorInfo {
  std::string where;
  std::string field;
  std::string value;
  std::string problem;
  std::string fix;
};

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, ErrorInfo info);

  ErrorCode code() const { return code_; }
  const ErrorInfo& info() const { return info_; }

 private:
  ErrorCode code_;
  ErrorInfo info_;
};

// Control characters and invalid UTF-8 in text taken from a file, made safe to print; cut at
// `max_chars` with an ellipsis.
std::string printable(std::string_view text, size_t max_chars = 80);

// Short forms for the common case of a file: where, field, value, problem, fix.
[[noreturn]] void throw_corrupt(std::string_view file, std::string_view field,
                                std::string_view value, std::string_view problem,
                                std::string_view fix = {});
[[noreturn]] void throw_unsupported(std::string_view where, std::string_view field,
                                    std::string_view value, std::string_view problem,
                                    std::string_view fix = {});
[[noreturn]] void throw_invalid(std::string_view where, std::string_view field,
                                std::string_view value, std::string_view problem,
                                std::string_view fix = {});

// What only a bug can bring about; message names it.
[[noreturn]] void throw_internal(std::string_view what);

// A condition only a bug can break; message names it.
inline void require(bool condition, std::string_view what) {
  if (!condition) [[unlikely]] {
    throw_internal(what);
  }
}

}  // namespace dak
