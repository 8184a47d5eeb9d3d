// Errors as OpenAI's API tells them: a status and {"error": {message, type, param, code}}.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include "base/error.h"

namespace dak {

class ApiError : public std::runtime_error {
 public:
  // `param`: the field of the request that is wrong; `code`: for programs. Both may be empty.
  ApiError(int status, std::string message, std::string param = {}, std::string code = {})
      : std::runtime_error(std::move(message)),
        status_(status),
        param_(std::move(param)),
        code_(std::move(code)) {}

  int status() const { return status_; }
  const std::string& param() const { return param_; }
  const std::string& code() const { return code_; }
  std::string json() const;  // {"error": ...}

 private:
  int status_;
  std::string param_;
  std::string code_;
};

// What a library's error is to a client. Errors of the machine (kIo, kInternal) keep their words to
// themselves: they may hold paths.
ApiError api_error(const Error& error);

}  // namespace dak
