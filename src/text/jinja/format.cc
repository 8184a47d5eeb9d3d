#include "text/jinja/format.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "text/jinja/print.h"
#include "text/jinja/text.h"

namespace dak::jinja {
namespace {

constexpr int64_t kMaxWidth = 10'000;

// [[fill]align][sign][#][0][width][,][.precision][type], the common part of both languages.
struct Spec {
  std::string fill = " ";
  char align = '\0';  // '<', '>', '^', '='; 0: by type
  char sign = '-';    // '-', '+' or ' '
  bool alternate = false;
  bool commas = false;
  int64_t width = 0;
  int64_t precision = -1;
  char type = '\0';
};

int64_t parse_digits(std::string_view text, size_t& at) {
  int64_t number = 0;
  while (at < text.size() && text[at] >= '0' && text[at] <= '9') {
    number = number * 10 + (text[at++] - '0');
    if (number > kMaxWidth) fail_exhausted(fmt::format("a format wider than {}", kMaxWidth));
  }
  return number;
}

bool is_align(char c) { return c == '<' || c == '>' || c == '^' || c == '='; }

Spec parse_spec(std::string_view text) {
  Spec spec;
  size_t at = 0;
  const size_t fill = text.empty() ? 0 : decode_at(text, 0).bytes;
  if (fill < text.size() && is_align(text[fill])) {
    spec.fill = text.substr(0, fill);
    spec.align = text[fill];
    at = fill + 1;
  } else if (!text.empty() && is_align(text[0])) {
    spec.align = text[at++];
  }
  const auto skip = [&](char c) { return at < text.size() && text[at] == c && (++at, true); };
  for (const char sign : {'+', '-', ' '}) {
    if (skip(sign)) spec.sign = sign;
  }
  spec.alternate = skip('#');
  if (skip('0') && spec.align == '\0') {
    spec.fill = "0";
    spec.align = '=';
  }
  spec.width = parse_digits(text, at);
  spec.commas = skip(',');
  if (skip('.')) spec.precision = parse_digits(text, at);
  if (at < text.size()) spec.type = text[at++];
  if (at != text.size()) fail(fmt::format("'{}' is not a format", printable(text)));
  return spec;
}

std::string pad(const std::string& sign, const std::string& body, const Spec& spec,
                char usual_align) {
  const char align = spec.align != '\0' ? spec.align : usual_align;
  const auto size = static_cast<int64_t>(count_code_points(body) + sign.size());
  const int64_t missing = std::max<int64_t>(0, spec.width - size);
  const int64_t left = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  std::string out;
  if (align == '=') out += sign;
  for (int64_t i = 0; i < left; ++i) out += spec.fill;
  if (align != '=') out += sign;
  out += body;
  for (int64_t i = left; i < missing; ++i) out += spec.fill;
  return out;
}

void add_commas(std::string& digits) {
  const size_t end = std::min(digits.find('.'), digits.size());
  for (size_t at = end; at > 3;) {
    at -= 3;
    digits.insert(at, ",");
  }
}

std::string sign_of(bool negative, const Spec& spec) {
  if (negative) return "-";
  return spec.sign == '-' ? "" : std::string(1, spec.sign);
}

std::string format_int(int64_t number, const Spec& spec) {
  const bool negative = number < 0;
  const uint64_t size =
      negative ? 0 - static_cast<uint64_t>(number) : static_cast<uint64_t>(number);
  std::string digits;
  std::string prefix;
  switch (spec.type) {
    case '\0':
    case 'd':
      digits = fmt::format("{}", size);
      break;
    case 'x':
      digits = fmt::format("{:x}", size);
      break;
    case 'X':
      digits = fmt::format("{:X}", size);
      break;
    case 'o':
      digits = fmt::format("{:o}", size);
      break;
    case 'b':
      digits = fmt::format("{:b}", size);
      break;
    default:
      fail_unsupported(fmt::format("the format type '{}' for an integer", spec.type));
  }
  if (spec.alternate && spec.type != 'd' && spec.type != '\0') {
    prefix = std::string("0") + spec.type;
  }
  if (spec.commas) add_commas(digits);
  return pad(sign_of(negative, spec) + prefix, digits, spec, '>');
}

std::string format_real(double number, const Spec& spec) {
  const bool negative = std::signbit(number) && !std::isnan(number);
  const double size = std::fabs(number);
  std::string digits;
  const auto precision = static_cast<int>(std::min<int64_t>(spec.precision, 300));
  const int shown = precision < 0 ? 6 : precision;
  if (!std::isfinite(number)) {
    digits = std::isnan(number) ? "nan" : "inf";
  } else if (spec.type == '\0' && precision < 0) {
    digits = format_float(size);
  } else if (spec.type == 'f' || spec.type == 'F') {
    digits = fmt::format("{:.{}f}", size, shown);
  } else if (spec.type == 'e') {
    digits = fmt::format("{:.{}e}", size, shown);
  } else if (spec.type == 'g') {
    digits = fmt::format("{:.{}g}", size, std::max(1, shown));
  } else if (spec.type == '%') {
    digits = fmt::format("{:.{}f}%", size * 100, shown);
  } else {
    fail_unsupported(fmt::format("the format type '{}' for a number", spec.type));
  }
  if (spec.commas) add_commas(digits);
  return pad(sign_of(negative, spec), digits, spec, '>');
}

std::string format_text(const std::string& text, const Spec& spec) {
  if (spec.align == '=') fail("'=' does not align text");
  std::string body = text;
  if (spec.precision >= 0) {
    const std::vector<size_t> offsets = code_point_offsets(text);
    const auto count = std::min(static_cast<size_t>(spec.precision), offsets.size() - 1);
    body.resize(offsets[count]);
  }
  return pad("", body, spec, '<');
}

std::string format_value(Interpreter& in, const Value& value, std::string_view text) {
  if (text.empty()) return in.str(value);
  const Spec spec = parse_spec(text);
  int64_t number = 0;
  double real = 0;
  const bool real_type =
      std::string_view("fFeg%").find(spec.type) != std::string_view::npos && spec.type != '\0';
  if (as_int(value, &number) && !real_type) return format_int(number, spec);
  if (as_number(value, &real)) return format_real(real, spec);
  if (as_string(value) == nullptr) {
    fail(fmt::format("a {} takes no format", type_name(value)));
  }
  if (spec.type != '\0' && spec.type != 's') fail("text takes the format type 's'");
  return format_text(*as_string(value), spec);
}

// The fields of one format string, filled from the arguments.
class BraceFormatter {
 public:
  BraceFormatter(Interpreter& in, const std::string& format, const Args& args)
      : in_(in), format_(format), args_(args) {}

  std::string run() {
    std::string out;
    for (size_t at = 0; at < format_.size(); ++at) {
      const char c = format_[at];
      const bool doubled = at + 1 < format_.size() && format_[at + 1] == c;
      if ((c == '{' || c == '}') && doubled) {
        out += c;
        ++at;
      } else if (c == '}') {
        fail("a single '}' in a format");
      } else if (c != '{') {
        out += c;
      } else {
        const size_t end = format_.find('}', at);
        if (end == std::string::npos) fail("a '{' without '}' in a format");
        out += field(std::string_view(format_).substr(at + 1, end - at - 1));
        at = end;
      }
      if (out.size() > kMaxOutputBytes) in_.budget().check_text(out.size());
    }
    return out;
  }

 private:
  std::string field(std::string_view text) {
    in_.budget().step();
    if (text.find('{') != std::string_view::npos) fail_unsupported("a field inside a field");
    std::string_view spec;
    if (const size_t colon = text.find(':'); colon != std::string_view::npos) {
      spec = text.substr(colon + 1);
      text = text.substr(0, colon);
    }
    std::string_view conversion;
    if (const size_t mark = text.find('!'); mark != std::string_view::npos) {
      conversion = text.substr(mark + 1);
      text = text.substr(0, mark);
    }
    Value value = lookup(text);
    if (conversion == "r") {
      value = in_.text(to_repr(value, in_.budget()));
    } else if (conversion == "s") {
      value = in_.text(in_.str(value));
    } else if (!conversion.empty()) {
      fail_unsupported("this conversion in a format");
    }
    return format_value(in_, value, spec);
  }

  // "", "0", "name", then .attribute and [item] parts.
  Value lookup(std::string_view path) {
    const size_t first_end = std::min(path.find_first_of(".["), path.size());
    Value value = argument(path.substr(0, first_end));
    path.remove_prefix(first_end);
    while (!path.empty()) {
      if (path.front() == '.') {
        const size_t end = std::min(path.find_first_of(".[", 1), path.size());
        value = in_.attribute(value, std::string(path.substr(1, end - 1)));
        path.remove_prefix(end);
      } else {
        const size_t end = path.find(']');
        if (path.front() != '[' || end == std::string_view::npos) fail("a wrong field in a format");
        value = in_.item(value, key(path.substr(1, end - 1)));
        path.remove_prefix(end + 1);
      }
    }
    return value;
  }

  Value key(std::string_view text) {
    size_t at = 0;
    const bool number = !text.empty() && text.find_first_not_of("0123456789") == text.npos;
    return number ? Value(parse_digits(text, at)) : in_.text(std::string(text));
  }

  Value argument(std::string_view name) {
    size_t at = 0;
    const bool number = name.find_first_not_of("0123456789") == std::string_view::npos;
    if (number) {
      const auto index = name.empty() ? next_++ : static_cast<size_t>(parse_digits(name, at));
      if (index >= args_.positional.size()) fail("a format has more fields than arguments");
      return args_.positional[index];
    }
    for (const auto& [key, value] : args_.keyword) {
      if (key == name) return value;
    }
    fail(fmt::format("a format needs the argument '{}'", printable(name)));
  }

  Interpreter& in_;
  const std::string& format_;
  const Args& args_;
  size_t next_ = 0;
};

// One %-field: flags, width, precision, type. Returns the place after it.
size_t percent_spec(const std::string& format, size_t at, Spec& spec) {
  for (; at < format.size() && std::string_view("-+ #0").find(format[at]) != std::string_view::npos;
       ++at) {
    if (format[at] == '-') spec.align = '<';
    if (format[at] == '+' || format[at] == ' ') spec.sign = format[at];
    if (format[at] == '#') spec.alternate = true;
    if (format[at] == '0' && spec.align == '\0') {
      spec.fill = "0";
      spec.align = '=';
    }
  }
  if (spec.align == '<') spec.fill = " ";
  spec.width = parse_digits(format, at);
  if (at < format.size() && format[at] == '.') spec.precision = parse_digits(format, ++at);
  if (at >= format.size()) fail("a format ends inside a field");
  spec.type = format[at];
  return at + 1;
}

std::string percent_field(Interpreter& in, Spec spec, const Value& value) {
  int64_t number = 0;
  double real = 0;
  switch (spec.type) {
    case 's':
    case 'r':
      spec.align = spec.align == '<' ? '<' : '>';
      spec.fill = " ";
      return format_text(spec.type == 's' ? in.str(value) : to_repr(value, in.budget()), spec);
    case 'd':
    case 'i':
    case 'u':
    case 'x':
    case 'X':
    case 'o':
      if (spec.precision >= 0) fail_unsupported("a precision for an integer");
      if (spec.type == 'i' || spec.type == 'u') spec.type = 'd';
      if (as_int(value, &number)) return format_int(number, spec);
      if (value.is<Undefined>()) fail_undefined(value);
      if (value.is<double>() && spec.type == 'd') {
        if (!(std::fabs(*value.get<double>()) < 9e18)) fail("a number is out of range");
        return format_int(static_cast<int64_t>(*value.get<double>()), spec);
      }
      fail(fmt::format("%{} needs a number, not a {}", spec.type, type_name(value)));
    case 'f':
    case 'F':
    case 'e':
    case 'g':
      if (value.is<Undefined>()) fail_undefined(value);
      if (as_number(value, &real)) return format_real(real, spec);
      fail(fmt::format("%{} needs a number, not a {}", spec.type, type_name(value)));
    default:
      fail_unsupported(fmt::format("the field %{}", printable({&spec.type, 1})));
  }
}

}  // namespace

Value format_percent(Interpreter& in, const std::string& format, const Value& values) {
  std::vector<Value> arguments{values};
  const auto* list = values.get<ListRef>();
  const bool is_tuple = list != nullptr && (*list)->tuple;
  if (is_tuple) arguments = (*list)->items;
  size_t used = 0;
  std::string out;
  for (size_t at = 0; at < format.size();) {
    if (format[at] != '%') {
      out += format[at++];
      continue;
    }
    Spec spec;
    Value value;
    const bool named = ++at < format.size() && format[at] == '(';
    if (named) {
      const size_t end = format.find(')', at);
      if (end == std::string::npos || !values.is<DictRef>()) fail("a named field needs a mapping");
      const std::string name = format.substr(at + 1, end - at - 1);
      const Value* found = (*values.get<DictRef>())->find(std::string_view(name));
      if (found == nullptr) fail(fmt::format("a format needs the key '{}'", printable(name)));
      value = *found;
      at = end + 1;
      used = arguments.size();
    }
    at = percent_spec(format, at, spec);
    if (spec.type == '%') {
      out += '%';
      continue;
    }
    if (!named) {
      if (used >= arguments.size()) fail("a format has more fields than values");
      value = arguments[used++];
    }
    out += percent_field(in, spec, value);
    if (out.size() > kMaxOutputBytes) in.budget().check_text(out.size());
  }
  const bool may_be_left = !is_tuple && (values.is<DictRef>() || values.is<ListRef>());
  if (used < arguments.size() && !may_be_left) fail("a format has fewer fields than values");
  return in.text(std::move(out));
}

Value format_braces(Interpreter& in, const std::string& format, const Args& args) {
  return in.text(BraceFormatter(in, format, args).run());
}

}  // namespace dak::jinja
