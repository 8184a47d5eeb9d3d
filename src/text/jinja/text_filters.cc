// Filters that make text.
#include <algorithm>

#include "text/jinja/args.h"
#include "text/jinja/filters.h"
#include "text/jinja/markup.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/print.h"
#include "text/jinja/text.h"

namespace dak::jinja {
namespace {

Value string(Interpreter& in, const Value& input, const Args&) {
  return as_string(input) != nullptr ? input : in.text(in.str(input));
}

// Filters take any value as its text, where methods take strings only.
Value call_method(Interpreter& in, const Value& input, std::string_view name, Args args) {
  const Value method = find_method(string(in, input, {}), name);
  return in.call(method, args);
}

Value upper(Interpreter& in, const Value& input, const Args& args) {
  return call_method(in, input, "upper", args);
}
Value lower(Interpreter& in, const Value& input, const Args& args) {
  return call_method(in, input, "lower", args);
}
Value capitalize_text(Interpreter& in, const Value& input, const Args& args) {
  return call_method(in, input, "capitalize", args);
}

Value trim(Interpreter& in, const Value& input, const Args& args) {
  const Bound bound("trim", args, {"chars"});
  return call_method(in, input, "strip",
                     {.positional = {bound.has(0) ? bound[0] : Value(None{})}, .keyword = {}});
}

Value replace(Interpreter& in, const Value& input, const Args& args) {
  const Bound bound("replace", args, {"old", "new", "count"}, 2);
  Args call{.positional = {in.text(in.str(bound[0])), in.text(in.str(bound[1]))}, .keyword = {}};
  if (bound.given(2)) call.positional.push_back(bound[2]);
  return call_method(in, in.text(in.str(input)), "replace", std::move(call));
}

// Not str.title: words end at whitespace, "-" and opening brackets only.
Value title(Interpreter& in, const Value& input, const Args& args) {
  const Bound bound("title", args, {});
  const std::string source = in.str(input);
  in.budget().work(source.size() * 4);
  std::string out;
  std::string word;
  const auto flush = [&] {
    if (word.empty()) return;
    const size_t first = decode_at(word, 0).bytes;
    out += to_upper(std::string_view(word).substr(0, first));
    out += to_lower(std::string_view(word).substr(first));
    word.clear();
  };
  for (size_t at = 0; at < source.size();) {
    const CodePoint point = decode_at(source, at);
    const bool separates =
        is_space(point.value) ||
        (point.value < 0x80 &&
         std::string_view("-({[<").find(static_cast<char>(point.value)) != std::string_view::npos);
    if (separates) flush();
    (separates ? out : word).append(source, at, point.bytes);
    at += point.bytes;
  }
  flush();
  return in.text(std::move(out));
}

Value join(Interpreter& in, const Value& input, const Args& args) {
  const Bound bound("join", args, {"d", "attribute"});
  const std::string separator = bound.has(0) ? in.str(bound[0]) : "";
  std::string out;
  bool first = true;
  for (const Value& item : in.iterate(input)) {
    const std::string part = in.str(bound.given(1) ? item_at_path(in, item, bound[1]) : item);
    in.budget().work(part.size());
    if (out.size() + separator.size() + part.size() > kMaxOutputBytes) {
      in.budget().check_text(kMaxOutputBytes + 1);
    }
    if (!first) out += separator;
    first = false;
    out += part;
  }
  return in.text(std::move(out));
}

Value indent(Interpreter& in, const Value& input, const Args& args) {
  const Bound bound("indent", args, {"width", "first", "blank"});
  const std::string* source = as_string(input);
  if (source == nullptr) {
    if (input.is<Undefined>()) fail_undefined(input);
    fail(fmt::format("indent() needs a string, not a {}", type_name(input)));
  }
  std::string prefix(4, ' ');
  if (bound.has(0) && as_string(bound[0]) != nullptr) {
    prefix = bound.string(0);
  } else if (bound.has(0)) {
    const int64_t width = std::max<int64_t>(0, bound.integer(0));
    if (width > 10'000) fail_exhausted("indent() by more than 10000");
    prefix.assign(static_cast<size_t>(width), ' ');
  }
  const bool blank = bound.flag(2, false);
  const std::string text = *source + "\n";
  const std::vector<std::string_view> lines = split_lines(text, false);
  in.budget().work(text.size() * 2);
  std::string out = bound.flag(1, false) ? prefix : "";
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    if (i > 0 && (blank || !lines[i].empty())) out += prefix;
    out += lines[i];
    if (out.size() > kMaxOutputBytes) in.budget().check_text(out.size());
  }
  return in.text(std::move(out), is_markup(input));
}

Value safe(Interpreter& in, const Value& input, const Args&) {
  return in.text(in.str(input), true);
}

Value escape(Interpreter& in, const Value& input, const Args& args) {
  const Bound bound("escape", args, {});
  return escaped(in, input);
}

Value force_escape(Interpreter& in, const Value& input, const Args& args) {
  const Bound bound("forceescape", args, {});
  return escaped(in, in.text(in.str(input)));
}

Value tojson(Interpreter& in, const Value& input, const Args& args) {
  const Bound bound("tojson", args, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = bound.flag(0, false);
  style.sort_keys = bound.flag(3, false);
  if (bound.given(1)) {
    style.indented = true;
    style.item_separator = ",";
    if (as_string(bound[1]) != nullptr) {
      style.indent = bound.string(1);
    } else {
      const int64_t width = std::max<int64_t>(0, bound.integer(1));
      if (width > 1000) fail_exhausted("tojson() with an indent of more than 1000");
      style.indent.assign(static_cast<size_t>(width), ' ');
    }
  }
  if (bound.given(2)) {
    const std::vector<Value> separators = in.iterate(bound[2]);
    if (separators.size() != 2 || as_string(separators[0]) == nullptr ||
        as_string(separators[1]) == nullptr) {
      fail("tojson() needs two separators");
    }
    style.item_separator = *as_string(separators[0]);
    style.key_separator = *as_string(separators[1]);
  }
  return in.text(to_json(input, style, in.budget()));
}

Value center(Interpreter& in, const Value& input, const Args& args) {
  const Bound bound("center", args, {"width"});
  return call_method(in, input, "center", {.positional = {bound.integer(0, 80)}, .keyword = {}});
}

Value wordcount(Interpreter& in, const Value& input, const Args& args) {
  const Bound bound("wordcount", args, {});
  const std::string text = in.str(input);
  in.budget().work(text.size() * 4);
  int64_t count = 0;
  bool in_word = false;
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = decode_at(text, at);
    const bool letter = is_alpha(point.value) || is_numeric(point.value) || point.value == '_';
    count += letter && !in_word ? 1 : 0;
    in_word = letter;
    at += point.bytes;
  }
  return count;
}

Value truncate(Interpreter& in, const Value& input, const Args& args) {
  const Bound bound("truncate", args, {"length", "killwords", "end", "leeway"});
  const std::string* text = as_string(input);
  if (text == nullptr) fail(fmt::format("truncate() needs a string, not a {}", type_name(input)));
  const std::string end = bound.has(2) ? bound.string(2) : "...";
  const int64_t length = bound.integer(0, 255);
  const int64_t leeway = bound.given(3) ? bound.integer(3) : 5;
  const auto end_size = static_cast<int64_t>(count_code_points(end));
  if (length < end_size || leeway < 0) fail("truncate() needs more length than its end takes");
  const std::vector<size_t> offsets = code_point_offsets(*text);
  if (static_cast<int64_t>(offsets.size()) - 1 - leeway <= length) return input;
  std::string cut = text->substr(0, offsets[static_cast<size_t>(length - end_size)]);
  if (!bound.flag(1, false)) {
    const size_t space = cut.rfind(' ');
    if (space != std::string::npos) cut.resize(space);
  }
  return in.text(cut + end);
}

Value format(Interpreter& in, const Value& input, const Args& args) {
  if (!args.keyword.empty()) fail_unsupported("format with named arguments");
  return binary(in, BinaryOp::kMod, string(in, input, {}), in.tuple(args.positional));
}

// Percent-encoding as Python's urllib quotes: in a query a space is '+', and '/' is encoded.
std::string quoted(std::string_view text, bool in_query) {
  std::string out;
  for (const char c : text) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter || c == '_' || c == '.' || c == '-' || c == '~' || (c == '/' && !in_query)) {
      out += c;
    } else if (c == ' ' && in_query) {
      out += '+';
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

// A text, or the pairs of a mapping or of a sequence as a query.
Value urlencode(Interpreter& in, const Value& input, const Args& args) {
  const Bound bound("urlencode", args, {});
  const auto* dict = input.get<DictRef>();
  const bool sequence = input.is<ListRef>() || input.is<GeneratorRef>();
  if (dict == nullptr && !sequence) {
    const std::string text = in.str(input);
    in.budget().work(text.size() * 3);
    return in.text(quoted(text, false));
  }
  std::string out;
  const auto add = [&](const Value& key, const Value& value) {
    if (!out.empty()) out += '&';
    out += quoted(in.str(key), true) + "=" + quoted(in.str(value), true);
    in.budget().work(out.size() + 1);
  };
  if (dict != nullptr) {
    for (const auto& [key, value] : (*dict)->entries) add(key, value);
  } else {
    for (const Value& pair : in.iterate(input)) {
      const std::vector<Value> both = in.iterate(pair);
      if (both.size() != 2) fail("urlencode() needs pairs");
      add(both[0], both[1]);
    }
  }
  return in.text(std::move(out));
}

}  // namespace

Value item_at_path(Interpreter& in, const Value& value, const Value& path) {
  const std::string* text = as_string(path);
  if (text == nullptr) return in.item(value, path);
  Value found = value;
  for (size_t begin = 0; begin <= text->size();) {
    const size_t end = std::min(text->find('.', begin), text->size());
    const std::string part = text->substr(begin, end - begin);
    const bool number = !part.empty() && part.size() < 18 &&
                        part.find_first_not_of("0123456789") == std::string::npos;
    found =
        number ? in.item(found, Value(int64_t{std::stoll(part)})) : in.item(found, in.text(part));
    begin = end + 1;
  }
  return found;
}

const std::vector<NamedFilter>& text_filters() {
  static const std::vector<NamedFilter> kFilters = {
      {"tojson", tojson},
      {"trim", trim},
      {"string", string},
      {"safe", safe},
      {"upper", upper},
      {"lower", lower},
      {"capitalize", capitalize_text},
      {"title", title},
      {"replace", replace},
      {"join", join},
      {"indent", indent},
      {"escape", escape},
      {"e", escape},
      {"forceescape", force_escape},
      {"center", center},
      {"wordcount", wordcount},
      {"truncate", truncate},
      {"urlencode", urlencode},
      {"format", format},
  };
  return kFilters;
}

}  // namespace dak::jinja
