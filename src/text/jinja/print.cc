#include "text/jinja/print.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "text/jinja/interpreter.h"
#include "text/jinja/text.h"

namespace dak::jinja {
namespace {

// Writes repr() of nested values; every value is a step and the text is bounded.
class ReprWriter {
 public:
  explicit ReprWriter(Budget& budget) : budget_(budget) {}

  void write(const Value& value, int depth) {
    if (depth > kMaxDepth) fail_exhausted(fmt::format("printing deeper than {}", kMaxDepth));
    budget_.step();
    if (out_.size() > kMaxOutputBytes) budget_.check_text(out_.size());
    if (const auto* text = value.get<TextRef>()) {
      budget_.work((*text)->bytes.size());
      out_ += quote_string((*text)->bytes);
    } else if (const auto* list = value.get<ListRef>()) {
      write_list(**list, depth);
    } else if (const auto* dict = value.get<DictRef>()) {
      write_dict((*dict)->entries, depth);
    } else if (const auto* view = value.get<ViewRef>()) {
      write_view(**view, depth);
    } else if (const auto* space = value.get<Namespace*>()) {
      write_namespace(**space, depth);
    } else {
      write_scalar(value);
    }
  }

  std::string take() { return std::move(out_); }

 private:
  void write_list(const List& list, int depth) {
    out_ += list.tuple ? '(' : '[';
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) out_ += ", ";
      write(list.items[i], depth + 1);
    }
    if (list.tuple && list.items.size() == 1) out_ += ',';
    out_ += list.tuple ? ')' : ']';
  }

  void write_dict(const std::vector<Dict::Entry>& entries, int depth) {
    out_ += '{';
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out_ += ", ";
      write(entries[i].first, depth + 1);
      out_ += ": ";
      write(entries[i].second, depth + 1);
    }
    out_ += '}';
  }

  void write_view(const View& view, int depth) {
    static constexpr std::array<std::string_view, 3> kNames = {"dict_keys", "dict_values",
                                                               "dict_items"};
    out_ += kNames.at(static_cast<size_t>(view.part));
    out_ += "([";
    bool first = true;
    for (const auto& [key, value] : view.dict->entries) {
      if (!first) out_ += ", ";
      first = false;
      if (view.part == View::Part::kItems) out_ += '(';
      if (view.part != View::Part::kValues) write(key, depth + 1);
      if (view.part == View::Part::kItems) out_ += ", ";
      if (view.part != View::Part::kKeys) write(value, depth + 1);
      if (view.part == View::Part::kItems) out_ += ')';
    }
    out_ += "])";
  }

  void write_namespace(const Namespace& space, int depth) {
    out_ += "<Namespace {";
    for (size_t i = 0; i < space.attributes.size(); ++i) {
      if (i > 0) out_ += ", ";
      out_ += quote_string(space.attributes[i].first) + ": ";
      write(space.attributes[i].second, depth + 1);
    }
    out_ += "}>";
  }

  void write_scalar(const Value& value) {
    if (value.is<Undefined>()) {
      out_ += "Undefined";
    } else if (value.is<None>()) {
      out_ += "None";
    } else if (const bool* flag = value.get<bool>()) {
      out_ += *flag ? "True" : "False";
    } else if (const int64_t* number = value.get<int64_t>()) {
      out_ += std::to_string(*number);
    } else if (const double* real = value.get<double>()) {
      out_ += format_float(*real);
    } else if (const auto* digits = value.get<Digits>()) {
      out_ += *digits->text;
    } else if (const auto* range = value.get<RangeRef>()) {
      out_ += fmt::format("range({}, {}", (*range)->start, (*range)->stop);
      if ((*range)->step != 1) out_ += fmt::format(", {}", (*range)->step);
      out_ += ')';
    } else if (const auto* macro = value.get<Macro*>()) {
      out_ += "<Macro " + quote_string(macro_name(**macro)) + ">";
    } else {  // Python prints an address here, which no template can mean
      out_ += fmt::format("<{}>", type_name(value));
    }
  }

  Budget& budget_;
  std::string out_;
};

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, Budget& budget) : style_(style), budget_(budget) {}

  void write(const Value& value, int depth) {
    if (depth > kMaxDepth) fail_exhausted(fmt::format("JSON deeper than {}", kMaxDepth));
    budget_.step();
    if (out_.size() > kMaxOutputBytes) budget_.check_text(out_.size());
    if (const auto* text = value.get<TextRef>()) {
      write_string((*text)->bytes);
    } else if (const auto* list = value.get<ListRef>()) {
      write_list((*list)->items, depth);
    } else if (const auto* dict = value.get<DictRef>()) {
      write_dict((*dict)->entries, depth);
    } else {
      out_ += scalar(value);
    }
  }

  std::string take() { return std::move(out_); }

 private:
  static std::string scalar(const Value& value) {
    if (value.is<None>()) return "null";
    if (const bool* flag = value.get<bool>()) return *flag ? "true" : "false";
    if (const int64_t* number = value.get<int64_t>()) return std::to_string(*number);
    if (const double* real = value.get<double>()) {
      if (std::isnan(*real)) return "NaN";
      if (std::isinf(*real)) return *real > 0 ? "Infinity" : "-Infinity";
      return format_float(*real);
    }
    if (const auto* digits = value.get<Digits>()) return *digits->text;
    fail(fmt::format("a value of type {} cannot be written as JSON", type_name(value)));
  }

  void new_line(int depth) {
    if (!style_.indented) return;
    budget_.check_text(out_.size() + style_.indent.size() * static_cast<size_t>(depth));
    out_ += '\n';
    for (int i = 0; i < depth; ++i) out_ += style_.indent;
  }

  void write_list(const std::vector<Value>& items, int depth) {
    if (items.empty()) {
      out_ += "[]";
      return;
    }
    out_ += '[';
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      new_line(depth + 1);
      write(items[i], depth + 1);
    }
    new_line(depth);
    out_ += ']';
  }

  void write_dict(const std::vector<Dict::Entry>& entries, int depth) {
    if (entries.empty()) {
      out_ += "{}";
      return;
    }
    std::vector<const Dict::Entry*> order;
    order.reserve(entries.size());
    for (const auto& entry : entries) order.push_back(&entry);
    if (style_.sort_keys) {
      std::stable_sort(order.begin(), order.end(), [this](const auto* a, const auto* b) {
        bool unordered = false;
        return compare(a->first, b->first, budget_, &unordered) < 0 && !unordered;
      });
    }
    out_ += '{';
    for (size_t i = 0; i < order.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      new_line(depth + 1);
      write_key(order[i]->first);
      out_ += style_.key_separator;
      write(order[i]->second, depth + 1);
    }
    new_line(depth);
    out_ += '}';
  }

  void write_key(const Value& key) {
    if (const std::string* text = as_string(key)) {
      write_string(*text);
    } else if (key.is<ListRef>() || key.is<Undefined>()) {
      fail(fmt::format("a JSON key cannot be a {}", type_name(key)));
    } else {
      out_ += '"' + scalar(key) + '"';
    }
  }

  void write_string(std::string_view text) {
    budget_.work(text.size());
    out_ += '"';
    for (size_t at = 0; at < text.size();) {
      const CodePoint point = decode_at(text, at);
      write_character(text.substr(at, point.bytes), point.value);
      at += point.bytes;
    }
    out_ += '"';
  }

  void write_character(std::string_view bytes, uint32_t code) {
    switch (code) {
      case '"':
        out_ += "\\\"";
        return;
      case '\\':
        out_ += "\\\\";
        return;
      case '\n':
        out_ += "\\n";
        return;
      case '\r':
        out_ += "\\r";
        return;
      case '\t':
        out_ += "\\t";
        return;
      case '\f':
        out_ += "\\f";
        return;
      case '\b':
        out_ += "\\b";
        return;
      default:
        break;
    }
    if (code < 0x20 || (style_.ensure_ascii && code >= 0x7f && code < 0x10000)) {
      out_ += fmt::format("\\u{:04x}", code);
    } else if (style_.ensure_ascii && code >= 0x10000) {
      const uint32_t offset = code - 0x10000;
      out_ += fmt::format("\\u{:04x}\\u{:04x}", 0xd800 + (offset >> 10), 0xdc00 + (offset & 0x3ff));
    } else {
      out_ += bytes;
    }
  }

  const JsonStyle& style_;
  Budget& budget_;
  std::string out_;
};

}  // namespace

std::string format_float(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number > 0 ? "inf" : "-inf";
  std::array<char, 64> buffer{};
  const auto end =
      std::to_chars(buffer.begin(), buffer.end(), number, std::chars_format::scientific).ptr;
  std::string_view text(buffer.data(), static_cast<size_t>(end - buffer.data()));
  std::string out;
  if (text.front() == '-') {
    out += '-';
    text.remove_prefix(1);
  }
  const size_t e = text.find('e');
  std::string digits(text.substr(0, e));
  std::erase(digits, '.');
  int exponent = 0;
  const std::string_view power = text.substr(e + (text[e + 1] == '+' ? 2 : 1));
  std::from_chars(power.data(), power.data() + power.size(), exponent);
  const auto length = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {  // where Python turns to the exponent form
    out += digits.substr(0, 1);
    if (length > 1) out += "." + digits.substr(1);
    return out + fmt::format("e{}{:02d}", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) {
    return out + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  }
  if (length <= exponent + 1) {
    return out + digits + std::string(static_cast<size_t>(exponent + 1 - length), '0') + ".0";
  }
  return out + digits.substr(0, static_cast<size_t>(exponent) + 1) + "." +
         digits.substr(static_cast<size_t>(exponent) + 1);
}

std::string quote_string(std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const bool has_double = text.find('"') != std::string_view::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  std::string out(1, quote);
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = decode_at(text, at);
    const uint32_t code = point.value;
    if (code == static_cast<uint32_t>(quote) || code == '\\') {
      out += '\\';
      out += static_cast<char>(code);
    } else if (code == '\n') {
      out += "\\n";
    } else if (code == '\r') {
      out += "\\r";
    } else if (code == '\t') {
      out += "\\t";
    } else if (is_printable(code)) {
      out += text.substr(at, point.bytes);
    } else if (code < 0x100) {
      out += fmt::format("\\x{:02x}", code);
    } else if (code < 0x10000) {
      out += fmt::format("\\u{:04x}", code);
    } else {
      out += fmt::format("\\U{:08x}", code);
    }
    at += point.bytes;
  }
  return out += quote;
}

std::string to_repr(const Value& value, Budget& budget) {
  ReprWriter writer(budget);
  writer.write(value, 0);
  return writer.take();
}

std::string to_str(const Value& value, Budget& budget) {
  if (const std::string* text = as_string(value)) return *text;
  if (value.is<Undefined>()) return {};
  return to_repr(value, budget);
}

std::string to_json(const Value& value, const JsonStyle& style, Budget& budget) {
  JsonWriter writer(style, budget);
  writer.write(value, 0);
  return writer.take();
}

}  // namespace dak::jinja
