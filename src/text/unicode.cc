#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "base/error.h"
#include "text/unicode_tables.h"
#include "text/utf8.h"

namespace dak {
namespace {

utf8proc_category_t category_by_name(std::string_view name) {
  // In the order of utf8proc_category_t, from UTF8PROC_CATEGORY_LU on.
  constexpr std::string_view kNames = "LuLlLtLmLoMnMcMeNdNlNoPcPdPsPePiPfPoSmScSkSo";
  return static_cast<utf8proc_category_t>(UTF8PROC_CATEGORY_LU + kNames.find(name) / 2);
}

// nullptr: not newer than Unicode 14.
const CategoryRange* find_later(char32_t code) {
  const auto later = later_categories();
  const auto range =
      std::lower_bound(later.begin(), later.end(), code,
                       [](const CategoryRange& r, char32_t wanted) { return r.last < wanted; });
  return range == later.end() || code < range->first ? nullptr : &*range;
}

utf8proc_category_t category(char32_t code) {
  const utf8proc_category_t known = utf8proc_category(static_cast<utf8proc_int32_t>(code));
  if (known != UTF8PROC_CATEGORY_CN) return known;
  const CategoryRange* later = find_later(code);
  return later == nullptr ? known : category_by_name(later->category);
}

struct OlderCharacter {
  std::string_view category;
  char32_t three_bytes;
  char32_t four_bytes;
};

// Of the scripts around them: Latin, Kayah Li and Brahmi digits, signs and so on.
constexpr OlderCharacter kOlder[] = {
    {"Lu", 0x1e00, 0x10400}, {"Ll", 0x1e01, 0x10428}, {"Lm", 0x0e46, 0x16b40},
    {"Lo", 0x0e01, 0x10000}, {"Mn", 0x0e31, 0x11001}, {"Mc", 0x0903, 0x11000},
    {"Nd", 0x0e50, 0x11066}, {"Nl", 0x2160, 0x10140}, {"No", 0x2460, 0x10107},
    {"Pd", 0x2010, 0x10ead}, {"Po", 0x0e4f, 0x11047}, {"So", 0x2600, 0x1f300},
    {"Sm", 0x2200, 0x1d6c1},
};

bool contains(std::span<const CodeRange> ranges, char32_t code) {
  const auto range =
      std::lower_bound(ranges.begin(), ranges.end(), code,
                       [](const CodeRange& r, char32_t wanted) { return r.last < wanted; });
  return range != ranges.end() && code >= range->first;
}

char32_t to_lower(char32_t code) {
  const auto later = later_lowercase();
  const auto pair =
      std::lower_bound(later.begin(), later.end(), code,
                       [](const CodePair& p, char32_t wanted) { return p.from < wanted; });
  if (pair != later.end() && pair->from == code) return pair->to;
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code)));
}

bool is_ascii_punctuation(char32_t code) {
  return (code >= 0x21 && code <= 0x2f) || (code >= 0x3a && code <= 0x40) ||
         (code >= 0x5b && code <= 0x60) || (code >= 0x7b && code <= 0x7e);
}

// Letters in circles and squares: category So, and yet Alphabetic.
bool is_enclosed_letter(char32_t code) {
  return (code >= 0x24b6 && code <= 0x24e9) || (code >= 0x1f130 && code <= 0x1f149) ||
         (code >= 0x1f150 && code <= 0x1f169) || (code >= 0x1f170 && code <= 0x1f189);
}

// No character below U+0300 changes under NFC, and none below U+0080 under any form.
bool is_unchanged_by(std::string_view text, NormalizationForm form) {
  const auto first_lead_byte_that_may_change =
      static_cast<unsigned char>(form == NormalizationForm::kNfc ? 0xcc : 0x80);
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= first_lead_byte_that_may_change) return false;
  }
  return true;
}

int utf8proc_options(NormalizationForm form) {
  switch (form) {
    case NormalizationForm::kNfc:
      return UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    case NormalizationForm::kNfd:
      return UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
    case NormalizationForm::kNfkc:
      return UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT;
    case NormalizationForm::kNfkd:
      return UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT;
  }
  return 0;
}

void append_normalized(std::string_view text, NormalizationForm form, std::string& out) {
  if (text.empty()) return;
  utf8proc_uint8_t* mapped = nullptr;
  const utf8proc_ssize_t length =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &mapped,
                   static_cast<utf8proc_option_t>(utf8proc_options(form)));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(mapped, &std::free);
  require(length >= 0, "Unicode normalisation of valid UTF-8 failed");
  out.append(reinterpret_cast<const char*>(mapped), static_cast<size_t>(length));
}

}  // namespace

bool is_white_space(char32_t code) {
  if (code < 0x80) return code == ' ' || (code >= 0x09 && code <= 0x0d);
  return code == 0x85 || code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) ||
         code == 0x2028 || code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

bool is_numeric(char32_t code) {
  if (code < 0x80) return code >= '0' && code <= '9';
  const utf8proc_category_t c = category(code);
  const bool numeric = c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO;
  return numeric != contains(numeric_exceptions(), code);
}

bool is_punctuation(char32_t code) {
  if (code < 0x80) return is_ascii_punctuation(code);
  const utf8proc_category_t c = category(code);
  const bool punctuation = c >= UTF8PROC_CATEGORY_PC && c <= UTF8PROC_CATEGORY_PO;
  return punctuation != contains(punctuation_exceptions(), code);
}

bool is_word_character(char32_t code) {
  const utf8proc_category_t c = category(code);
  return (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_NL) || c == UTF8PROC_CATEGORY_PC ||
         code == 0x200c || code == 0x200d || is_enclosed_letter(code);
}

bool is_combining_mark(char32_t code) {
  const utf8proc_category_t c = category(code);
  const bool mark = c >= UTF8PROC_CATEGORY_MN && c <= UTF8PROC_CATEGORY_ME;
  return mark != contains(mark_exceptions(), code);
}

std::string with_older_characters(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (static_cast<unsigned char>(text[i]) < 0xe0) {  // the newer ones take three or four bytes
      ++i;
      continue;
    }
    const Utf8Char c = utf8_char_at(text, i);
    if (const CategoryRange* later = find_later(c.code)) {
      for (const OlderCharacter& older : kOlder) {
        if (older.category != later->category) continue;
        std::string replacement;
        append_utf8(replacement, c.length_bytes == 3 ? older.three_bytes : older.four_bytes);
        if (out.empty()) out = text;
        out.replace(i, c.length_bytes, replacement);
      }
    }
    i += c.length_bytes;
  }
  return out;
}

std::string normalize_unicode(std::string_view text, NormalizationForm form) {
  if (is_unchanged_by(text, form)) return std::string(text);
  // A character that does not compose, decompose or move cuts the text in independent parts.
  std::string out;
  size_t begin = 0;
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = utf8_char_at(text, i);
    if (c.code >= 0x300 && contains(normalization_barriers(), c.code)) {
      append_normalized(text.substr(begin, i - begin), form, out);
      out += text.substr(i, c.length_bytes);
      begin = i + c.length_bytes;
    }
    i += c.length_bytes;
  }
  append_normalized(text.substr(begin), form, out);
  return out;
}

std::string lowercase_unicode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = utf8_char_at(text, i);
    i += c.length_bytes;
    if (c.code == 0x130) {
      out += "i\xcc\x87";  // the one character whose lower case is two: i and a dot above
    } else {
      append_utf8(out, to_lower(c.code));
    }
  }
  return out;
}

}  // namespace dak
