#include "server/api_error.h"

#include <nlohmann/json.hpp>

namespace dak {
namespace {

std::string_view type_of(int status) {
  switch (status) {
    case 401:
    case 403:
      return "authentication_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    default:
      return status < 500 ? "invalid_request_error" : "server_error";
  }
}

// The line of Error::what() without what the client did not write.
std::string message_of(const Error& error) {
  ErrorInfo info = error.info();
  info.where.clear();
  return Error(error.code(), std::move(info)).what();
}

}  // namespace

std::string ApiError::json() const {
  const auto or_null = [](const std::string& text) -> nlohmann::json {
    if (text.empty()) return nullptr;
    return text;
  };
  const nlohmann::ordered_json json{{"error",
                                     {{"message", what()},
                                      {"type", type_of(status_)},
                                      {"param", or_null(param_)},
                                      {"code", or_null(code_)}}}};
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

ApiError api_error(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kCorrupt:
      return {400, message_of(error), error.info().field};
    case ErrorCode::kNotFound:
      return {404, message_of(error), error.info().field};
    case ErrorCode::kUnsupported:
      return {400, message_of(error), error.info().field, "unsupported"};
    case ErrorCode::kResourceExhausted:
      return {429, message_of(error), {}, "overloaded"};
    case ErrorCode::kUnavailable:
      return {503, message_of(error), {}, "unavailable"};
    case ErrorCode::kDeadlineExceeded:
      return {504, message_of(error), {}, "timeout"};
    case ErrorCode::kIo:
    case ErrorCode::kInternal:
      break;
  }
  return {500, "the server failed; its log says why", {}, "internal"};
}

}  // namespace dak
