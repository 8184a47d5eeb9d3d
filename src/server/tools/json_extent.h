// Where one JSON value ends in a text that comes in pieces. Brackets are counted and strings
// skipped; whether what lies between is JSON is not looked at.
#pragma once

#include <string>
#include <string_view>

namespace dak {

class JsonExtent {
 public:
  // Appends to `out` the bytes of `text` that belong to the value and returns their number. Control
  // characters within strings, which models write and JSON does not allow, are escaped.
  size_t read(std::string_view text, std::string& out);
  bool done() const { return done_; }

 private:
  void read_in_string(char c, std::string& out);

  int depth_ = 0;
  bool in_string_ = false;
  bool escaped_ = false;
  bool begun_ = false;
  bool done_ = false;
};

}  // namespace dak
