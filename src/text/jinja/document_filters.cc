// Filters for documents: HTML's tags and attributes, sizes of files.
#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <optional>

#include "text/jinja/args.h"
#include "text/jinja/filters.h"
#include "text/jinja/markup.h"
#include "text/jinja/text.h"

namespace dak::jinja {
namespace {

// `text` without comments and tags; one that does not end stays.
std::string without_tags(std::string_view text) {
  std::string out;
  size_t from = 0;
  for (size_t start = text.find('<'); start != text.npos; start = text.find('<', from)) {
    const bool comment = text.substr(start).starts_with("<!--");
    const std::string_view closing = comment ? "-->" : ">";
    const size_t end = text.find(closing, comment ? start + 4 : start);
    if (end == text.npos) break;
    out += text.substr(from, start - from);
    from = end + closing.size();
  }
  return out.append(text.substr(from));
}

std::string with_single_spaces(std::string_view text) {
  std::string out;
  bool gap = false;
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = decode_at(text, at);
    const bool space = is_space(point.value);
    if (!space && gap && !out.empty()) out += ' ';
    if (!space) out += text.substr(at, point.bytes);
    gap = space;
    at += point.bytes;
  }
  return out;
}

// The character that "&NAME;" or "&#CODE;" stands for, without the two signs around it; of HTML's
// two thousand names those that escape() could have written.
std::optional<std::string> character_of(std::string_view entity) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kNames = {
      {{"amp", "&"}, {"lt", "<"}, {"gt", ">"}, {"quot", "\""}, {"apos", "'"}}};
  for (const auto& [name, character] : kNames) {
    if (entity == name) return std::string(character);
  }
  if (!entity.starts_with('#')) return std::nullopt;
  entity.remove_prefix(1);
  const bool hexadecimal = entity.starts_with('x') || entity.starts_with('X');
  if (hexadecimal) entity.remove_prefix(1);
  uint32_t code = 0;
  const char* end = entity.data() + entity.size();
  const auto [read, error] = std::from_chars(entity.data(), end, code, hexadecimal ? 16 : 10);
  // HTML reads control characters and those of no meaning in ways of its own.
  const bool plain = code >= 0x20 && (code < 0x7f || code >= 0xa0) && code < 0xd800;
  if (error != std::errc() || read != end || !plain) return std::nullopt;
  std::string out;
  append_utf8(out, code);
  return out;
}

std::string unescaped(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t sign = std::min(text.find('&', at), text.size());
    out += text.substr(at, sign - at);
    if (sign == text.size()) break;
    const size_t end = text.find_first_of("; &<", sign + 1);
    const bool whole = end != text.npos && text[end] == ';';
    const auto letter = sign + 1 < text.size() ? static_cast<unsigned char>(text[sign + 1]) : 0;
    if (std::isalpha(letter) == 0 && letter != '#') {
      out += '&';
      at = sign + 1;
      continue;
    }
    const auto character =
        whole ? character_of(text.substr(sign + 1, end - sign - 1)) : std::nullopt;
    if (!character) fail_unsupported("striptags() of HTML's names of characters");
    out += *character;
    at = end + 1;
  }
  return out;
}

Value striptags(Interpreter& in, const Value& input, const Args& args) {
  const Bound bound("striptags", args, {});
  const std::string text = in.str(input);
  in.budget().work(text.size() * 4);
  return in.text(unescaped(with_single_spaces(without_tags(text))));
}

Value filesizeformat(Interpreter& in, const Value& input, const Args& args) {
  const Bound bound("filesizeformat", args, {"binary"});
  const bool binary = bound.flag(0, false);
  double bytes = 0;
  if (!as_number(input, &bytes)) {
    const Args none;
    const Value number = find_filter("float")(in, input, none);
    if (!as_number(number, &bytes)) fail("filesizeformat() needs a number");
  }
  const double base = binary ? 1024 : 1000;
  if (bytes == 1) return in.text("1 Byte");
  if (bytes < base) return in.text(fmt::format("{:.0f} Bytes", std::trunc(bytes)));
  constexpr std::string_view kPrefixes = "kMGTPEZY";
  double unit = base;
  for (const char prefix : kPrefixes) {
    unit *= base;
    if (bytes >= unit && prefix != kPrefixes.back()) continue;
    const char first = binary && prefix == 'k' ? 'K' : prefix;
    return in.text(fmt::format("{:.1f} {}{}", base * bytes / unit, first, binary ? "iB" : "B"));
  }
  return {};
}

Value xmlattr(Interpreter& in, const Value& input, const Args& args) {
  const Bound bound("xmlattr", args, {"autospace"});
  const auto* dict = input.get<DictRef>();
  if (dict == nullptr) fail(fmt::format("xmlattr() needs a mapping, not a {}", type_name(input)));
  std::string out;
  for (const auto& [key, value] : (*dict)->entries) {
    if (value.is<None>() || value.is<Undefined>()) continue;
    const std::string* name = as_string(key);
    if (name == nullptr) fail("xmlattr() needs names that are strings");
    for (size_t at = 0; at < name->size(); at += decode_at(*name, at).bytes) {
      const uint32_t code = decode_at(*name, at).value;
      if (is_space(code) || code == '/' || code == '>' || code == '=') {
        fail("xmlattr() has an invalid character in a name");
      }
    }
    if (!out.empty()) out += ' ';
    out += in.str(escaped(in, key)) + "=\"" + in.str(escaped(in, value)) + '"';
    in.budget().work(out.size());
  }
  if (bound.flag(0, true) && !out.empty()) out = ' ' + out;
  return in.text(std::move(out));
}

}  // namespace

const std::vector<NamedFilter>& document_filters() {
  static const std::vector<NamedFilter> kFilters = {
      {"striptags", striptags}, {"filesizeformat", filesizeformat}, {"xmlattr", xmlattr}};
  return kFilters;
}

std::string_view why_no_filter(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kReasons = {
      {{"random", "would make another prompt each time"},
       {"urlize", "makes links for browsers"},
       {"wordwrap", "breaks lines for readers"},
       {"pprint", "breaks lines for readers"}}};
  for (const auto& [known, why] : kReasons) {
    if (known == name) return why;
  }
  return {};
}

}  // namespace dak::jinja
