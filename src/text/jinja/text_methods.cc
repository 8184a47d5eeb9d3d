// The methods of str.
#include <algorithm>

#include "text/jinja/args.h"
#include "text/jinja/format.h"
#include "text/jinja/methods.h"
#include "text/jinja/text.h"

namespace dak::jinja {
namespace {

const std::string& self_text(const Value& self) {
  const std::string* text = as_string(self);
  require(text != nullptr, "a str method without its string");
  return *text;
}

Value strip_side(Interpreter& in, const Value& self, const Args& args, std::string_view name,
                 Side side) {
  const Bound bound(name, args, {""});
  const std::string& text = self_text(self);
  in.budget().work(text.size());
  if (!bound.given(0)) return in.text(std::string(strip_space(text, side)));
  const std::string& chars = bound.string(0);
  in.budget().work(chars.size() * 16);
  return in.text(std::string(strip_chars(text, chars, side)));
}

Value strip(Interpreter& in, const Value& self, Args& args) {
  return strip_side(in, self, args, "strip", Side::kBoth);
}
Value lstrip(Interpreter& in, const Value& self, Args& args) {
  return strip_side(in, self, args, "lstrip", Side::kLeft);
}
Value rstrip(Interpreter& in, const Value& self, Args& args) {
  return strip_side(in, self, args, "rstrip", Side::kRight);
}

std::vector<std::string_view> split_at(std::string_view text, std::string_view separator,
                                       int64_t limit, bool from_right) {
  std::vector<std::string_view> parts;
  while (limit != 0) {
    const size_t found = from_right ? text.rfind(separator) : text.find(separator);
    if (found == std::string_view::npos) break;
    const size_t after = found + separator.size();
    parts.push_back(from_right ? text.substr(after) : text.substr(0, found));
    text = from_right ? text.substr(0, found) : text.substr(after);
    --limit;
  }
  parts.push_back(text);
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

// Without a separator: at runs of whitespace, and nothing empty.
std::vector<std::string_view> split_words(std::string_view text, int64_t limit, bool from_right) {
  std::vector<std::string_view> parts;
  const Side outer = from_right ? Side::kRight : Side::kLeft;
  text = strip_space(text, outer);
  while (!text.empty()) {
    if (limit == 0) {
      parts.push_back(text);  // the rest, with the whitespace at its far end
      break;
    }
    size_t end = 0;
    if (from_right) {
      end = text.size();
      while (end > 0) {
        size_t at = end - 1;
        while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) --at;
        if (is_space(decode_at(text, at).value)) break;
        end = at;
      }
      parts.push_back(text.substr(end));
      text = strip_space(text.substr(0, end), outer);
    } else {
      while (end < text.size() && !is_space(decode_at(text, end).value)) {
        end += decode_at(text, end).bytes;
      }
      parts.push_back(text.substr(0, end));
      text = strip_space(text.substr(end), outer);
    }
    --limit;
  }
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

Value make_list(Interpreter& in, const std::vector<std::string_view>& parts) {
  in.budget().charge(parts.size() * sizeof(Text));  // before they are made: they may be many
  in.budget().release(parts.size() * sizeof(Text));
  std::vector<Value> items;
  items.reserve(parts.size());
  for (const std::string_view part : parts) items.push_back(in.text(std::string(part)));
  return in.list(std::move(items));
}

Value split_side(Interpreter& in, const Value& self, const Args& args, std::string_view name,
                 bool from_right) {
  const Bound bound(name, args, {"sep", "maxsplit"});
  const std::string& text = self_text(self);
  const int64_t limit = bound.integer(1, -1);
  in.budget().work(text.size() * 16);
  if (!bound.given(0)) return make_list(in, split_words(text, limit, from_right));
  if (bound.string(0).empty()) fail(fmt::format("{}() needs a separator", name));
  return make_list(in, split_at(text, bound.string(0), limit, from_right));
}

Value split(Interpreter& in, const Value& self, Args& args) {
  return split_side(in, self, args, "split", false);
}
Value rsplit(Interpreter& in, const Value& self, Args& args) {
  return split_side(in, self, args, "rsplit", true);
}

Value splitlines(Interpreter& in, const Value& self, Args& args) {
  const Bound bound("splitlines", args, {"keepends"});
  in.budget().work(self_text(self).size() * 16);
  return make_list(in, split_lines(self_text(self), bound.flag(0, false)));
}

Value partition_side(Interpreter& in, const Value& self, const Args& args, bool from_right) {
  const Bound bound("partition", args, {""}, 1);
  const std::string& text = self_text(self);
  const std::string& separator = bound.string(0);
  if (separator.empty()) fail("partition() needs a separator");
  const size_t found = from_right ? text.rfind(separator) : text.find(separator);
  if (found == std::string::npos) {
    return from_right ? in.tuple({in.text(""), in.text(""), self})
                      : in.tuple({self, in.text(""), in.text("")});
  }
  return in.tuple(
      {in.text(text.substr(0, found)), bound[0], in.text(text.substr(found + separator.size()))});
}

Value partition(Interpreter& in, const Value& self, Args& args) {
  return partition_side(in, self, args, false);
}
Value rpartition(Interpreter& in, const Value& self, Args& args) {
  return partition_side(in, self, args, true);
}

// text[start:end] of bounds in code points, as find() and startswith() take them, and the byte at
// which it begins. Nothing when start is beyond the end.
std::optional<std::pair<std::string_view, size_t>> window(const std::string& text,
                                                          const Bound& bound) {
  if (!bound.given(1) && !bound.given(2)) return {{text, 0}};
  const std::vector<size_t> offsets = code_point_offsets(text);
  const auto size = static_cast<int64_t>(offsets.size()) - 1;
  const auto place = [size](int64_t at) { return at < 0 ? std::max<int64_t>(0, at + size) : at; };
  const int64_t start = bound.given(1) ? place(std::max(bound.integer(1), -size)) : 0;
  const int64_t end =
      std::min(size, bound.given(2) ? place(std::max(bound.integer(2), -size)) : size);
  if (start > size || start > end) return std::nullopt;
  const size_t begin = offsets[static_cast<size_t>(start)];
  return {{std::string_view(text).substr(begin, offsets[static_cast<size_t>(end)] - begin), begin}};
}

Value affix(Interpreter& in, const Value& self, const Args& args, std::string_view name,
            bool at_start) {
  const Bound bound(name, args, {"", "", ""}, 1);
  const auto view = window(self_text(self), bound);
  std::vector<Value> options{bound[0]};
  if (const auto* list = bound[0].get<ListRef>(); list != nullptr && (*list)->tuple) {
    options = (*list)->items;
  }
  for (const Value& option : options) {
    in.budget().step();
    const std::string* text = as_string(option);
    if (text == nullptr) {
      if (option.is<Undefined>()) fail_undefined(option);
      fail(fmt::format("{}() needs a string, not a {}", name, type_name(option)));
    }
    if (view && (at_start ? view->first.starts_with(*text) : view->first.ends_with(*text))) {
      return true;
    }
  }
  return false;
}

Value startswith(Interpreter& in, const Value& self, Args& args) {
  return affix(in, self, args, "startswith", true);
}
Value endswith(Interpreter& in, const Value& self, Args& args) {
  return affix(in, self, args, "endswith", false);
}

// The index in code points, or -1.
int64_t find_from(Interpreter& in, const Value& self, const Args& args, std::string_view name,
                  bool last) {
  const Bound bound(name, args, {"", "", ""}, 1);
  const std::string& text = self_text(self);
  const std::string& what = bound.string(0);
  in.budget().work(text.size());
  const auto view = window(text, bound);
  if (!view) return -1;
  const size_t found = last ? view->first.rfind(what) : view->first.find(what);
  if (found == std::string_view::npos) return -1;
  return static_cast<int64_t>(
      count_code_points(std::string_view(text).substr(0, view->second + found)));
}

Value find(Interpreter& in, const Value& self, Args& args) {
  return find_from(in, self, args, "find", false);
}
Value rfind(Interpreter& in, const Value& self, Args& args) {
  return find_from(in, self, args, "rfind", true);
}
Value index(Interpreter& in, const Value& self, Args& args) {
  const int64_t at = find_from(in, self, args, "index", false);
  if (at < 0) fail("index() does not find the substring");
  return at;
}
Value rindex(Interpreter& in, const Value& self, Args& args) {
  const int64_t at = find_from(in, self, args, "rindex", true);
  if (at < 0) fail("rindex() does not find the substring");
  return at;
}

Value count(Interpreter& in, const Value& self, Args& args) {
  const Bound bound("count", args, {"", "", ""}, 1);
  in.budget().work(self_text(self).size());
  const auto view = window(self_text(self), bound);
  return view ? static_cast<int64_t>(count_matches(view->first, bound.string(0))) : int64_t{0};
}

Value replace(Interpreter& in, const Value& self, Args& args) {
  const Bound bound("replace", args, {"", "", ""}, 2);
  const std::string& text = self_text(self);
  const std::string& to = bound.string(1);
  const int64_t limit = bound.integer(2, -1);
  size_t matches = count_matches(text, bound.string(0));
  if (limit >= 0) matches = std::min(matches, static_cast<size_t>(limit));
  if (to.size() > kMaxOutputBytes / (matches + 1)) in.budget().check_text(kMaxOutputBytes + 1);
  in.budget().check_text(text.size() + matches * to.size());
  return in.text(replace_all(text, bound.string(0), to, limit));
}

Value join(Interpreter& in, const Value& self, Args& args) {
  const Bound bound("join", args, {""}, 1);
  std::string out;
  bool first = true;
  for (const Value& item : in.iterate(bound[0])) {
    const std::string* text = as_string(item);
    if (text == nullptr) fail(fmt::format("join() needs strings, not a {}", type_name(item)));
    if (!first) out += self_text(self);
    first = false;
    out += *text;
    in.budget().check_text(out.size() < kMaxOutputBytes ? text->size() : out.size());
  }
  return in.text(std::move(out));
}

using Mapping = std::string (*)(std::string_view);

Value map_text(Interpreter& in, const Value& self, const Args& args, std::string_view name,
               Mapping mapping) {
  const Bound bound(name, args, {});
  in.budget().work(self_text(self).size() * 4);
  return in.text(mapping(self_text(self)));
}

Value upper(Interpreter& in, const Value& self, Args& args) {
  return map_text(in, self, args, "upper", to_upper);
}
Value lower(Interpreter& in, const Value& self, Args& args) {
  return map_text(in, self, args, "lower", to_lower);
}
Value title(Interpreter& in, const Value& self, Args& args) {
  return map_text(in, self, args, "title", title_words);
}
Value capitalized(Interpreter& in, const Value& self, Args& args) {
  return map_text(in, self, args, "capitalize", capitalize);
}
Value swapcase(Interpreter& in, const Value& self, Args& args) {
  return map_text(in, self, args, "swapcase", [](std::string_view text) {
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const CodePoint point = decode_at(text, at);
      const std::string_view bytes = text.substr(at, point.bytes);
      out += is_upper(point.value) ? to_lower(bytes) : to_upper(bytes);
      at += point.bytes;
    }
    return out;
  });
}

Value removeprefix(Interpreter& in, const Value& self, Args& args) {
  const Bound bound("removeprefix", args, {""}, 1);
  const std::string& text = self_text(self);
  if (!text.starts_with(bound.string(0))) return self;
  return in.text(text.substr(bound.string(0).size()));
}
Value removesuffix(Interpreter& in, const Value& self, Args& args) {
  const Bound bound("removesuffix", args, {""}, 1);
  const std::string& text = self_text(self);
  if (!text.ends_with(bound.string(0))) return self;
  return in.text(text.substr(0, text.size() - bound.string(0).size()));
}

using Property = bool (*)(uint32_t);

// Not empty and every character has the property.
Value all_of(Interpreter& in, const Value& self, Property property) {
  const std::string& text = self_text(self);
  in.budget().work(text.size() * 4);
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = decode_at(text, at);
    if (!property(point.value)) return false;
    at += point.bytes;
  }
  return !text.empty();
}

Value isdigit(Interpreter& in, const Value& self, Args&) { return all_of(in, self, is_digit); }
Value isdecimal(Interpreter& in, const Value& self, Args&) { return all_of(in, self, is_decimal); }
Value isnumeric(Interpreter& in, const Value& self, Args&) { return all_of(in, self, is_numeric); }
Value isalpha(Interpreter& in, const Value& self, Args&) { return all_of(in, self, is_alpha); }
Value isspace(Interpreter& in, const Value& self, Args&) { return all_of(in, self, is_space); }
Value isalnum(Interpreter& in, const Value& self, Args&) {
  return all_of(in, self, [](uint32_t code) { return is_alpha(code) || is_numeric(code); });
}
Value isascii(Interpreter&, const Value& self, Args&) { return is_ascii(self_text(self)); }

// At least one cased character and none of the other case.
Value all_cased(Interpreter& in, const Value& self, Property wanted, Property other) {
  const std::string& text = self_text(self);
  in.budget().work(text.size() * 4);
  bool any = false;
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = decode_at(text, at);
    if (other(point.value)) return false;
    any |= wanted(point.value);
    at += point.bytes;
  }
  return any;
}
Value isupper(Interpreter& in, const Value& self, Args&) {
  return all_cased(in, self, is_upper, is_lower);
}
Value islower(Interpreter& in, const Value& self, Args&) {
  return all_cased(in, self, is_lower, is_upper);
}

Value pad(Interpreter& in, const Value& self, const Args& args, std::string_view name, int side) {
  const Bound bound(name, args, {"", ""}, 1);
  const std::string& text = self_text(self);
  const std::string fill = bound.has(1) ? bound.string(1) : " ";
  if (count_code_points(fill) != 1) fail(fmt::format("{}() needs one fill character", name));
  const int64_t missing = bound.integer(0) - static_cast<int64_t>(count_code_points(text));
  if (missing <= 0) return self;
  if (missing > static_cast<int64_t>(kMaxOutputBytes)) in.budget().check_text(kMaxOutputBytes + 1);
  const auto total = static_cast<size_t>(missing);
  in.budget().check_text(text.size() + total * fill.size());
  // str.center puts the odd one out on the left when the width is odd.
  const size_t left = side < 0   ? total
                      : side > 0 ? 0
                                 : total / 2 + (total & static_cast<size_t>(bound.integer(0)) & 1);
  std::string out;
  for (size_t i = 0; i < left; ++i) out += fill;
  out += text;
  for (size_t i = left; i < total; ++i) out += fill;
  return in.text(std::move(out));
}
Value rjust(Interpreter& in, const Value& self, Args& args) {
  return pad(in, self, args, "rjust", -1);
}
Value ljust(Interpreter& in, const Value& self, Args& args) {
  return pad(in, self, args, "ljust", 1);
}
Value center(Interpreter& in, const Value& self, Args& args) {
  return pad(in, self, args, "center", 0);
}
Value zfill(Interpreter& in, const Value& self, Args& args) {
  const std::string& text = self_text(self);
  const size_t sign = text.starts_with('-') || text.starts_with('+') ? 1 : 0;
  const Bound bound("zfill", args, {""}, 1);
  Args padding{.positional = {bound.integer(0) - static_cast<int64_t>(sign), in.text("0")},
               .keyword = {}};
  const Value digits = pad(in, in.text(text.substr(sign)), padding, "zfill", -1);
  return in.text(text.substr(0, sign) + self_text(digits));
}

Value format(Interpreter& in, const Value& self, Args& args) {
  return format_braces(in, self_text(self), args);
}

Value not_supported(Interpreter&, const Value&, Args&) {
  fail_unsupported("this method of a string");
}

}  // namespace

const std::vector<NamedMethod>& text_methods() {
  static const std::vector<NamedMethod> kMethods = {
      {"strip", strip},
      {"split", split},
      {"startswith", startswith},
      {"endswith", endswith},
      {"lstrip", lstrip},
      {"rstrip", rstrip},
      {"replace", replace},
      {"upper", upper},
      {"lower", lower},
      {"title", title},
      {"capitalize", capitalized},
      {"rsplit", rsplit},
      {"splitlines", splitlines},
      {"partition", partition},
      {"rpartition", rpartition},
      {"join", join},
      {"find", find},
      {"rfind", rfind},
      {"index", index},
      {"rindex", rindex},
      {"count", count},
      {"format", format},
      {"removeprefix", removeprefix},
      {"removesuffix", removesuffix},
      {"isdigit", isdigit},
      {"isdecimal", isdecimal},
      {"isnumeric", isnumeric},
      {"isalpha", isalpha},
      {"isalnum", isalnum},
      {"isspace", isspace},
      {"isupper", isupper},
      {"islower", islower},
      {"isascii", isascii},
      {"swapcase", swapcase},
      {"ljust", ljust},
      {"rjust", rjust},
      {"center", center},
      {"zfill", zfill},
      {"casefold", not_supported},
      {"encode", not_supported},
      {"expandtabs", not_supported},
      {"format_map", not_supported},
      {"isidentifier", not_supported},
      {"isprintable", not_supported},
      {"istitle", not_supported},
      {"translate", not_supported},
  };
  return kMethods;
}

}  // namespace dak::jinja
