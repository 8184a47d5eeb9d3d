#include "base/json.h"

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace dak {
namespace {

constexpr int kMaxDepth =
    512;  // nlohmann frees recursively: a hostile file must not reach the stack

void check_depth(std::string_view text, std::string_view where) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxDepth) {
        throw_corrupt(where, fmt::format("byte {}", i), {},
                      fmt::format("JSON nested deeper than {}", kMaxDepth));
      }
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
}

}  // namespace

Json parse_json(std::string_view text, std::string_view where) {
  check_depth(text, where);
  try {
    return Json::parse(text);
  } catch (const Json::parse_error& error) {
    throw_corrupt(where, fmt::format("byte {}", error.byte), {}, "is not valid JSON",
                  "fetch the file again or mend it by hand");
  } catch (const Json::out_of_range&) {
    throw_corrupt(where, {}, {}, "is not valid JSON: it has a number that no double can hold",
                  "fetch the file again or mend it by hand");
  }
}

}  // namespace dak
