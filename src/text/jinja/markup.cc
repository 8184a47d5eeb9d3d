#include "text/jinja/markup.h"

namespace dak::jinja {
namespace {

std::string escape_html(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (const char c : source) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

Value escaped_text(Interpreter& in, const Value& value) {
  return as_string(value) != nullptr ? escaped(in, value) : value;
}

}  // namespace

bool is_markup(const Value& value) {
  const auto* text = value.get<TextRef>();
  return text != nullptr && (*text)->markup;
}

Value escaped(Interpreter& in, const Value& value) {
  if (is_markup(value)) return value;
  const std::string source = in.str(value);
  in.budget().work(source.size() * 5);
  return in.text(escape_html(source), true);
}

Value as_markup(Interpreter& in, const Value& value) {
  if (const std::string* text = as_string(value)) return in.text(*text, true);
  const auto* list = value.get<ListRef>();
  if (list == nullptr) return value;
  std::vector<Value> items;
  items.reserve((*list)->items.size());
  for (const Value& item : (*list)->items) {
    const std::string* text = as_string(item);
    items.push_back(text != nullptr ? in.text(*text, true) : item);
  }
  return (*list)->tuple ? in.tuple(std::move(items)) : in.list(std::move(items));
}

Value escaped_values(Interpreter& in, const Value& values) {
  const auto* list = values.get<ListRef>();
  if (list == nullptr || !(*list)->tuple) return escaped_text(in, values);
  std::vector<Value> items;
  for (const Value& item : (*list)->items) items.push_back(escaped_text(in, item));
  return in.tuple(std::move(items));
}

Value call_markup_method(Interpreter& in, const Native& method, Args& args) {
  if (method.name == "replace" && args.positional.size() > 1) {
    args.positional[1] = escaped(in, args.positional[1]);
  } else if (method.name == "join" && !args.positional.empty()) {
    std::vector<Value> items;
    for (const Value& item : in.iterate(args.positional[0])) items.push_back(escaped(in, item));
    args.positional[0] = in.list(std::move(items));
  } else if (method.name == "format") {
    for (Value& value : args.positional) value = escaped_text(in, value);
    for (auto& [name, value] : args.keyword) value = escaped_text(in, value);
  }
  return as_markup(in, method.function(in, method.self, args));
}

}  // namespace dak::jinja
