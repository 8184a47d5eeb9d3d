#include "text/jinja/text.h"

#include <algorithm>

#include "text/jinja/unicode_data.h"

namespace dak::jinja {
namespace {

bool in_ranges(const std::vector<CodeRange>& ranges, uint32_t code) {
  const auto it = std::upper_bound(ranges.begin(), ranges.end(), code,
                                   [](uint32_t c, const CodeRange& r) { return c < r.first; });
  return it != ranges.begin() && code <= std::prev(it)->last;
}

uint32_t map_case(const std::vector<CaseRange>& ranges, uint32_t code) {
  // Ranges of stride 2 may interleave with one neighbour: look at the two that can hold `code`.
  auto it = std::upper_bound(ranges.begin(), ranges.end(), code,
                             [](uint32_t c, const CaseRange& r) { return c < r.first; });
  for (int back = 0; back < 2 && it != ranges.begin(); ++back) {
    --it;
    if (code <= it->last && (code - it->first) % it->stride == 0) {
      return static_cast<uint32_t>(static_cast<int64_t>(code) + it->delta);
    }
  }
  return code;
}

const CaseExpansion* find_expansion(uint32_t code) {
  const auto& table = upper_expansions();
  const auto it = std::lower_bound(table.begin(), table.end(), code,
                                   [](const CaseExpansion& e, uint32_t c) { return e.code < c; });
  return it != table.end() && it->code == code ? &*it : nullptr;
}

void append_upper(std::string& out, uint32_t code) {
  if (const CaseExpansion* expansion = code < 0x80 ? nullptr : find_expansion(code)) {
    for (const uint32_t upper : expansion->upper) {
      if (upper != 0) append_utf8(out, upper);
    }
  } else {
    append_utf8(out, map_case(upper_ranges(), code));
  }
}

// First of a word: like upper, except that only the first of an expansion stays upper ("ss" ->
// "Ss").
void append_title(std::string& out, uint32_t code) {
  std::string upper;
  append_upper(upper, code);
  const size_t first = decode_at(upper, 0).bytes;
  out.append(upper, 0, first);
  out += to_lower(std::string_view(upper).substr(first));
}

constexpr uint32_t kDottedCapitalI = 0x130;  // the one character whose lower case is two
constexpr uint32_t kCapitalSigma = 0x3a3;
constexpr uint32_t kFinalSigma = 0x3c2;

// A capital sigma that ends a word becomes a final sigma, so the neighbours count.
void append_lower(std::string& out, std::string_view text, size_t at, CodePoint point,
                  bool after_letter) {
  const size_t end = at + point.bytes;
  if (point.value == kDottedCapitalI) {
    out += "i\xcc\x87";
  } else if (point.value == kCapitalSigma && after_letter &&
             (end >= text.size() || !is_alpha(decode_at(text, end).value))) {
    append_utf8(out, kFinalSigma);
  } else if (point.value == 0xfffd) {
    out.append(text.substr(at, point.bytes));
  } else {
    append_utf8(out, map_case(lower_ranges(), point.value));
  }
}

void append_lower_from(std::string& out, std::string_view text, size_t begin) {
  bool after_letter = begin > 0 && is_alpha(decode_at(text, 0).value);
  for (size_t at = begin; at < text.size();) {
    const CodePoint point = decode_at(text, at);
    append_lower(out, text, at, point, after_letter);
    after_letter = is_alpha(point.value);
    at += point.bytes;
  }
}

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

bool is_line_end(uint32_t code) {
  return (code >= 0x0a && code <= 0x0d) || (code >= 0x1c && code <= 0x1e) || code == 0x85 ||
         code == 0x2028 || code == 0x2029;
}

template <class Strips>
std::string_view strip_if(std::string_view text, Side side, Strips strips) {
  size_t begin = 0;
  size_t end = text.size();
  while (side != Side::kRight && begin < end) {
    const CodePoint point = decode_at(text, begin);
    if (!strips(text.substr(begin, point.bytes), point.value)) break;
    begin += point.bytes;
  }
  while (side != Side::kLeft && begin < end) {
    size_t at = end - 1;
    while (at > begin && end - at < 4 && is_continuation(text[at])) --at;
    if (at + decode_at(text, at).bytes != end) at = end - 1;  // invalid UTF-8: byte by byte
    if (!strips(text.substr(at, end - at), decode_at(text, at).value)) break;
    end = at;
  }
  return text.substr(begin, end - begin);
}

}  // namespace

CodePoint decode_at(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) -> uint32_t {
    return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0;
  };
  const auto more = [&](size_t i) { return (byte(i) & 0xc0) == 0x80; };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead >= 0xc2 && lead < 0xe0 && more(1)) {
    return {(lead & 0x1f) << 6 | (byte(1) & 0x3f), 2};
  }
  if (lead >= 0xe0 && lead < 0xf0 && more(1) && more(2)) {
    const uint32_t code = (lead & 0x0f) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f);
    if (code >= 0x800 && (code < 0xd800 || code > 0xdfff)) return {code, 3};
  }
  if (lead >= 0xf0 && lead < 0xf5 && more(1) && more(2) && more(3)) {
    const uint32_t code =
        (lead & 0x07) << 18 | (byte(1) & 0x3f) << 12 | (byte(2) & 0x3f) << 6 | (byte(3) & 0x3f);
    if (code >= 0x10000 && code < 0x110000) return {code, 4};
  }
  return {0xfffd, 1};
}

void append_utf8(std::string& out, uint32_t code) {
  if (code >= 0x110000 || (code >= 0xd800 && code <= 0xdfff)) code = 0xfffd;
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xc0 | code >> 6);
    out += static_cast<char>(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xe0 | code >> 12);
    out += static_cast<char>(0x80 | (code >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (code & 0x3f));
  } else {
    out += static_cast<char>(0xf0 | code >> 18);
    out += static_cast<char>(0x80 | (code >> 12 & 0x3f));
    out += static_cast<char>(0x80 | (code >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (code & 0x3f));
  }
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

size_t count_code_points(std::string_view text) {
  size_t count = 0;
  for (size_t at = 0; at < text.size(); at += decode_at(text, at).bytes) ++count;
  return count;
}

std::vector<size_t> code_point_offsets(std::string_view text) {
  std::vector<size_t> offsets;
  for (size_t at = 0; at < text.size(); at += decode_at(text, at).bytes) offsets.push_back(at);
  offsets.push_back(text.size());
  return offsets;
}

bool is_space(uint32_t code) {
  return (code >= 0x09 && code <= 0x0d) || (code >= 0x1c && code <= 0x20) || code == 0x85 ||
         code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
         code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

bool is_printable(uint32_t code) { return !in_ranges(unprintable_ranges(), code); }
bool is_alpha(uint32_t code) { return in_ranges(alpha_ranges(), code); }
bool is_decimal(uint32_t code) { return in_ranges(decimal_ranges(), code); }
bool is_digit(uint32_t code) { return in_ranges(digit_ranges(), code); }
bool is_numeric(uint32_t code) { return in_ranges(numeric_ranges(), code); }
bool is_upper(uint32_t code) { return map_case(lower_ranges(), code) != code; }
bool is_lower(uint32_t code) {
  return !is_upper(code) && (map_case(upper_ranges(), code) != code || find_expansion(code));
}

std::string to_upper(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = decode_at(text, at);
    if (point.value == 0xfffd) {
      out.append(text.substr(at, point.bytes));
    } else {
      append_upper(out, point.value);
    }
    at += point.bytes;
  }
  return out;
}

std::string to_lower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  append_lower_from(out, text, 0);
  return out;
}

std::string capitalize(std::string_view text) {
  if (text.empty()) return {};
  const CodePoint first = decode_at(text, 0);
  std::string out;
  append_title(out, first.value);
  append_lower_from(out, text, first.bytes);
  return out;
}

std::string title_words(std::string_view text) {
  std::string out;
  bool in_word = false;
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = decode_at(text, at);
    if (in_word) {
      append_lower(out, text, at, point, true);
    } else if (point.value == 0xfffd) {
      out.append(text.substr(at, point.bytes));
    } else {
      append_title(out, point.value);
    }
    in_word = is_upper(point.value) || is_lower(point.value);
    at += point.bytes;
  }
  return out;
}

std::string_view strip_space(std::string_view text, Side side) {
  return strip_if(text, side, [](std::string_view, uint32_t code) { return is_space(code); });
}

std::string_view strip_chars(std::string_view text, std::string_view chars, Side side) {
  return strip_if(text, side, [chars](std::string_view point, uint32_t) {
    for (size_t at = 0; at < chars.size();) {
      const size_t bytes = decode_at(chars, at).bytes;
      if (chars.substr(at, bytes) == point) return true;
      at += bytes;
    }
    return false;
  });
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = decode_at(text, at);
    size_t end = at + point.bytes;
    if (is_line_end(point.value)) {
      if (point.value == '\r' && end < text.size() && text[end] == '\n') ++end;
      lines.push_back(text.substr(begin, (keep_ends ? end : at) - begin));
      begin = end;
    }
    at = end;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to,
                        int64_t limit) {
  std::string out;
  size_t at = 0;
  const auto may_replace = [&] { return limit != 0; };
  const auto replaced = [&] { limit -= limit > 0 ? 1 : 0; };
  if (from.empty()) {
    while (may_replace()) {
      out += to;
      replaced();
      if (at >= text.size()) return out;
      const size_t bytes = decode_at(text, at).bytes;
      out.append(text.substr(at, bytes));
      at += bytes;
    }
  }
  while (!from.empty() && may_replace()) {
    const size_t found = text.find(from, at);
    if (found == std::string_view::npos) break;
    out.append(text.substr(at, found - at)).append(to);
    replaced();
    at = found + from.size();
  }
  return out.append(text.substr(at));
}

size_t count_matches(std::string_view text, std::string_view what) {
  if (what.empty()) return count_code_points(text) + 1;
  size_t count = 0;
  for (size_t at = text.find(what); at != std::string_view::npos;
       at = text.find(what, at + what.size())) {
    ++count;
  }
  return count;
}

}  // namespace dak::jinja
