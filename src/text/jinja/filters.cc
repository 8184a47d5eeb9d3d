// Filters on single values, and the lookup of all filters.
#include "text/jinja/filters.h"

#include <charconv>
#include <cmath>
#include <limits>

#include "text/jinja/args.h"
#include "text/jinja/operators.h"
#include "text/jinja/print.h"
#include "text/jinja/text.h"

namespace dak::jinja {
namespace {

Value default_value(Interpreter& in, const Value& input, const Args& args) {
  const Bound bound("default", args, {"default_value", "boolean"});
  const bool replaced = input.is<Undefined>() || (bound.flag(1, false) && !truthy(input));
  if (!replaced) return input;
  return bound.has(0) ? bound[0] : in.text("");
}

// Python's int() and float() allow whitespace around and underscores between digits.
std::optional<std::string> number_text(std::string_view text) {
  text = strip_space(text);
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto digit = [&](size_t at) {
      return at < text.size() && std::isalnum(static_cast<unsigned char>(text[at])) != 0;
    };
    if (text[i] != '_') {
      out += text[i];
    } else if (i == 0 || !digit(i - 1) || !digit(i + 1)) {
      return std::nullopt;
    }
  }
  if (out.starts_with('+')) {
    out.erase(0, 1);
    if (out.starts_with('-')) return std::nullopt;
  }
  return out;
}

std::optional<int64_t> parse_int(std::string_view source, int base) {
  const std::optional<std::string> text = number_text(source);
  if (!text) return std::nullopt;
  int64_t value = 0;
  const char* begin = text->data();
  const char* end = begin + text->size();
  const std::string_view digits(*text);
  if (base == 16 && (digits.starts_with("0x") || digits.starts_with("0X"))) begin += 2;
  if (base == 8 && (digits.starts_with("0o") || digits.starts_with("0O"))) begin += 2;
  if (base == 2 && (digits.starts_with("0b") || digits.starts_with("0B"))) begin += 2;
  const auto result = std::from_chars(begin, end, value, base);
  if (result.ptr != end || begin == end) return std::nullopt;
  if (result.ec == std::errc::result_out_of_range) fail("an integer does not fit 64 bits");
  if (result.ec != std::errc{}) return std::nullopt;
  return value;
}

std::optional<double> parse_float(std::string_view source) {
  const std::optional<std::string> text = number_text(source);
  if (!text || text->empty()) return std::nullopt;
  double value = 0;
  const char* end = text->data() + text->size();
  const auto result = std::from_chars(text->data(), end, value);
  if (result.ptr != end || result.ec == std::errc::invalid_argument) return std::nullopt;
  if (text->find('(') != std::string::npos) return std::nullopt;  // nan(...)
  if (result.ec == std::errc::result_out_of_range) {
    const bool tiny =
        text->find("e-") != std::string::npos || text->find("E-") != std::string::npos;
    value = tiny ? 0 : std::numeric_limits<double>::infinity();
    if (text->starts_with('-')) value = -value;
  }
  return value;
}

// int(number); nothing for NaN and infinities, a fault beyond 64 bits.
std::optional<int64_t> truncate(double number) {
  if (!std::isfinite(number)) return std::nullopt;
  if (number >= 9223372036854775808.0 || number < -9223372036854775808.0) {
    fail("an integer does not fit 64 bits");
  }
  return static_cast<int64_t>(number);
}

Value to_int(Interpreter&, const Value& input, const Args& args) {
  const Bound bound("int", args, {"default", "base"});
  const Value fallback = bound.has(0) ? bound[0] : Value(int64_t{0});
  int64_t number = 0;
  if (input.is<Undefined>()) fail_undefined(input);
  if (as_int(input, &number)) return number;
  if (const auto* digits = input.get<Digits>(); digits != nullptr && digits->whole) return input;
  std::optional<double> real;
  if (const double* value = input.get<double>()) {
    if (std::isinf(*value)) fail("infinity is not an integer");
    real = *value;
  }
  if (const std::string* text = as_string(input)) {
    const int64_t base = bound.integer(1, 10);
    if (base != 10 && base != 16 && base != 8 && base != 2) {
      fail_unsupported(fmt::format("int() with base {}", base));
    }
    if (const auto value = parse_int(*text, static_cast<int>(base))) return *value;
    real = parse_float(*text);
  }
  const std::optional<int64_t> value = real ? truncate(*real) : std::nullopt;
  return value ? Value(*value) : fallback;
}

Value to_float(Interpreter&, const Value& input, const Args& args) {
  const Bound bound("float", args, {"default"});
  double number = 0;
  if (input.is<Undefined>()) fail_undefined(input);
  if (as_number(input, &number)) return number;
  if (const std::string* text = as_string(input)) {
    if (const auto value = parse_float(*text)) return *value;
  }
  return bound.has(0) ? bound[0] : Value(0.0);
}

Value absolute(Interpreter&, const Value& input, const Args& args) {
  const Bound bound("abs", args, {});
  int64_t number = 0;
  if (as_int(input, &number)) return number < 0 ? negate(number) : Value(number);
  if (const double* real = input.get<double>()) return std::fabs(*real);
  if (input.is<Undefined>()) fail_undefined(input);
  fail(fmt::format("abs() needs a number, not a {}", type_name(input)));
}

// round(number, digits) to the nearest decimal, as the shortest text that reads back says.
double round_common(double number, int digits) {
  if (!std::isfinite(number) || digits > 22) return number;
  if (digits < 0) {
    const double scale = std::pow(10.0, -digits);
    return std::nearbyint(number / scale) * scale;
  }
  const std::string text = fmt::format("{:.{}f}", number, digits);
  double rounded = number;
  std::from_chars(text.data(), text.data() + text.size(), rounded);
  return rounded;
}

Value round_number(Interpreter&, const Value& input, const Args& args) {
  const Bound bound("round", args, {"precision", "method"});
  const std::string method = bound.has(1) ? bound.string(1) : "common";
  if (method != "common" && method != "ceil" && method != "floor") {
    fail("round() knows 'common', 'ceil' and 'floor'");
  }
  double number = 0;
  if (input.is<Undefined>()) fail_undefined(input);
  if (!as_number(input, &number)) {
    fail(fmt::format("round() needs a number, not a {}", type_name(input)));
  }
  const int64_t precision = bound.integer(0, 0);
  if (precision > 300 || precision < -300) fail("round() needs a precision within 300");
  const auto digits = static_cast<int>(precision);
  if (method == "common") {
    int64_t whole = 0;
    if (as_int(input, &whole) && digits >= 0) return whole;
    if (as_int(input, &whole)) fail_unsupported("round() of an integer to tens");
    return round_common(number, digits);
  }
  const double scale = std::pow(10.0, digits);
  return (method == "ceil" ? std::ceil(number * scale) : std::floor(number * scale)) / scale;
}

FilterFunction find_in(const std::vector<NamedFilter>& filters, std::string_view name) {
  for (const NamedFilter& filter : filters) {
    if (filter.name == name) return filter.function;
  }
  return nullptr;
}

}  // namespace

const std::vector<NamedFilter>& number_filters() {
  static const std::vector<NamedFilter> kFilters = {
      {"default", default_value}, {"d", default_value}, {"int", to_int},
      {"float", to_float},        {"abs", absolute},    {"round", round_number},
  };
  return kFilters;
}

FilterFunction find_filter(std::string_view name) {
  for (const auto* family :
       {&text_filters(), &sequence_filters(), &number_filters(), &document_filters()}) {
    if (const FilterFunction function = find_in(*family, name)) return function;
  }
  return nullptr;
}

}  // namespace dak::jinja
