// A request's line and header fields (RFC 9112, sections 2 to 6): what they must be, and what they
// say. Strict wherever two readers of the same bytes could differ.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "server/http.h"

namespace dak {

struct HttpHead {
  HttpRequest request;  // without its body
  unsigned version = 11;
  bool keep_alive = false;
  bool expects_continue = false;
  bool chunked = false;
  uint64_t content_length = 0;

  bool has_body() const { return chunked || content_length > 0; }
};

// `text` from the request line to the empty line and with it; HeaderScan has seen it. Throws
// HttpRefusal.
HttpHead parse_http_head(std::string_view text);

std::string_view http_reason(int status);  // "OK"; of a status line

// Of a method or a field's name (RFC 9110 5.6.2).
bool is_token_char(char c);
// Throws HttpRefusal (400) where `line` is no "name: value".
void check_field_line(std::string_view line);

// Finds the empty line that ends a header or the fields behind a body, a byte at a time, so that it
// makes no difference how they arrive.
class HeaderScan {
 public:
  enum class Begin : uint8_t { kRequestLine, kFields };
  // `most_bytes`: of all that is scanned.
  HeaderScan(Begin begin, int64_t most_bytes)
      : first_line_(begin == Begin::kRequestLine), most_bytes_(most_bytes) {}

  // Whether `byte` ends it. Throws HttpRefusal at the first byte that cannot be: a line end that is
  // not CRLF, a control character, a line that continues another; 431: too many bytes.
  bool take(char byte);
  // False while there have been but empty lines before the request line, which are ignored.
  bool begun() const { return begun_; }
  int64_t blank_bytes() const { return blank_bytes_; }  // of these lines

 private:
  bool end_line();

  bool first_line_;
  bool begun_ = false;
  bool after_cr_ = false;
  int64_t most_bytes_;
  int64_t bytes_ = 0;
  int64_t line_bytes_ = 0;
  int64_t blank_bytes_ = 0;
};

}  // namespace dak
