#include "server/tools/json_extent.h"

#include <fmt/format.h>

#include <iterator>

namespace dak {

void JsonExtent::read_in_string(char c, std::string& out) {
  if (static_cast<unsigned char>(c) < 0x20) {
    if (c == '\n') {
      out += escaped_ ? "n" : "\\n";
    } else {
      fmt::format_to(std::back_inserter(out), "{}u{:04x}", escaped_ ? "" : "\\",
                     static_cast<unsigned>(c));
    }
    escaped_ = false;
    return;
  }
  out += c;
  if (escaped_) {
    escaped_ = false;
  } else if (c == '\\') {
    escaped_ = true;
  } else if (c == '"') {
    in_string_ = false;
    done_ = depth_ == 0;
  }
}

size_t JsonExtent::read(std::string_view text, std::string& out) {
  size_t at = 0;
  for (; at < text.size() && !done_; ++at) {
    const char c = text[at];
    if (in_string_) {
      read_in_string(c, out);
      continue;
    }
    // A number or a word ends before what follows it.
    const bool ends =
        c == ',' || c == '}' || c == ']' || c == ' ' || c == '\n' || c == '\t' || c == '\r';
    if (depth_ == 0 && begun_ && ends) {
      done_ = true;
      break;
    }
    begun_ = true;
    out += c;
    if (c == '"') {
      in_string_ = true;
    } else if (c == '{' || c == '[') {
      ++depth_;
    } else if (c == '}' || c == ']') {
      done_ = --depth_ <= 0;
    }
  }
  return at;
}

}  // namespace dak
