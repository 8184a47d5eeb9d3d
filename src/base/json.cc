#include "base/json.h"

#include <cmath>
#include <cstdlib>
#include <limits>
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

constexpr const char* kTag = "__float__";  // transformers' spelling of what JSON cannot write

std::string tagged(std::string_view number) {
  return fmt::format(R"({{"{}": "{}"}})", kTag, number);
}

bool begins_number(char c) { return c == '-' || (c >= '0' && c <= '9'); }

// The number at the beginning of `text`; empty where nothing else than a name follows a minus.
std::string_view number_at(std::string_view text) {
  return text.substr(0, text.find_first_not_of("+-.0123456789eE"));
}

// `text` with the numbers that JSON does not know in transformers' spelling; strings untouched.
std::string with_tagged_numbers(std::string_view text) {
  constexpr std::string_view kNames[] = {"NaN", "Infinity", "-Infinity"};
  std::string out;
  out.reserve(text.size());
  bool in_string = false;
  for (size_t i = 0; i < text.size();) {
    const std::string_view rest = text.substr(i);
    std::string_view piece = rest.substr(0, 1);
    if (in_string) {
      if (rest[0] == '\\') piece = rest.substr(0, 2);
      if (rest[0] == '"') in_string = false;
    } else if (rest[0] == '"') {
      in_string = true;
    } else {
      for (const std::string_view name : kNames) {
        if (rest.starts_with(name)) piece = name;
      }
      if (piece.size() == 1 && begins_number(rest[0])) piece = number_at(rest);
    }
    i += piece.size();
    const bool number = !in_string && piece.size() > 1 && piece.back() != '"';
    const bool named = number && (piece.back() == 'N' || piece.back() == 'y');
    // Only a long number or one with an exponent can be out of range.
    const bool large =
        number && !named && std::isinf(std::strtod(std::string(piece).c_str(), nullptr));
    if (named) {
      out += tagged(piece);
    } else if (large) {
      out += tagged(piece[0] == '-' ? "-Infinity" : "Infinity");
    } else {
      out += piece;
    }
  }
  return out;
}

void untag(Json& value) {
  if (value.is_object() && value.size() == 1 && value.contains(kTag) && value[kTag].is_string()) {
    const auto& name = value[kTag].get_ref<const std::string&>();
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    if (name == "NaN") {
      value = std::numeric_limits<double>::quiet_NaN();
    } else if (name == "Infinity") {
      value = kInfinity;
    } else if (name == "-Infinity") {
      value = -kInfinity;
    }
    return;
  }
  if (value.is_structured()) {
    for (Json& item : value) untag(item);
  }
}

}  // namespace

Json parse_python_json(std::string_view text, std::string_view where) {
  check_depth(text, where);
  Json json;
  try {
    json = Json::parse(text);
  } catch (const Json::exception&) {
    json = parse_json(with_tagged_numbers(text), where);
  }
  untag(json);
  return json;
}

std::string json_text(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_float() && !std::isfinite(value.get<double>())) {
    const auto number = value.get<double>();
    return std::isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity";
  }
  return value.dump(-1, ' ', true, Json::error_handler_t::replace);
}

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
