// Oniguruma and PCRE2 read most patterns alike. Here the known differences are spelled out, and
// what is not known to agree is refused.
#include <string_view>

#include "base/error.h"
#include "text/regex.h"

namespace dak {
namespace {

// Sets as members of a bracketed class. PCRE2's own \s also takes U+180E, and its \w leaves out
// marks and connector punctuation.
constexpr std::string_view kSpaceSet =
    "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"
    "\\x{205f}\\x{3000}";
constexpr std::string_view kWordSet =
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}"
    "\\x{1f170}-\\x{1f189}";

bool is_hex(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

bool is_ascii_alphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

class Translator {
 public:
  Translator(std::string_view pattern, std::string_view where, std::string_view field)
      : pattern_(pattern), where_(where), field_(field) {}

  std::string run() {
    while (!done()) {
      const char c = peek();
      if (c == '\\') {
        escape(/*in_class=*/false);
      } else if (c == '[') {
        bracketed_class();
      } else if (c == '(') {
        group();
      } else if (c == '{') {
        interval();
      } else {
        copy(1);
      }
    }
    return std::move(out_);
  }

 private:
  bool done() const { return at_ >= pattern_.size(); }
  char peek(size_t ahead = 0) const {
    return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0';
  }
  void copy(size_t count) {
    out_ += pattern_.substr(at_, count);
    at_ += count;
  }
  void replace(size_t count, std::string_view text) {
    out_ += text;
    at_ += count;
  }
  [[noreturn]] void refuse(std::string_view what) const {
    throw_unsupported(where_, field_, pattern_,
                      fmt::format("regular expression with {} at byte {}", what, at_),
                      "dak knows the constructs that language models' tokenizers use");
  }

  void escape(bool in_class) {
    const char c = peek(1);
    const auto set = [&](std::string_view members, bool negated) {
      if (in_class && negated) refuse("a negated set inside a class");
      replace(2,
              in_class ? std::string(members) : fmt::format("[{}{}]", negated ? "^" : "", members));
    };
    switch (c) {
      case 's':
        return set(kSpaceSet, false);
      case 'S':
        // Inside a class only a double negation could say it exactly; U+180E is the difference.
        return in_class ? copy(2) : set(kSpaceSet, true);
      case 'w':
        return set(kWordSet, false);
      case 'W':
        return set(kWordSet, true);
      case 'v':
        return replace(2, "\\x0b");  // PCRE2: any vertical white space
      case 'd':
      case 'D':
      case 'n':
      case 'r':
      case 't':
      case 'f':
      case 'a':
      case 'e':
        return copy(2);
      case 'A':
      case 'z':
        if (in_class) refuse("an anchor inside a class");
        return copy(2);
      case 'p':
      case 'P':
        return property();
      case 'x':
        return hexadecimal();
      case 'u':
        for (size_t i = 2; i < 6; ++i) {
          if (!is_hex(peek(i))) refuse("\\u without four hexadecimal digits");
        }
        return replace(6, fmt::format("\\x{{{}}}", pattern_.substr(at_ + 2, 4)));
      default:
        if (c == '\0' || is_ascii_alphanumeric(c)) refuse(fmt::format("the escape \\{}", c));
        return copy(2);
    }
  }

  void property() {
    const size_t close = pattern_.find('}', at_);
    if (peek(2) != '{' || close == std::string_view::npos) refuse("\\p without {name}");
    copy(close + 1 - at_);
  }

  void hexadecimal() {
    if (peek(2) == '{') {
      const size_t close = pattern_.find('}', at_);
      if (close == std::string_view::npos) refuse("an open \\x{");
      for (size_t i = at_ + 3; i < close; ++i) {
        if (!is_hex(pattern_[i])) refuse("\\x{} that is not hexadecimal");
      }
      return copy(close + 1 - at_);
    }
    if (!is_hex(peek(2)) || !is_hex(peek(3))) refuse("\\x without two hexadecimal digits");
    copy(4);
  }

  void bracketed_class() {
    copy(1);
    if (peek() == '^') copy(1);
    if (peek() == ']') refuse("']' first in a class");
    while (!done() && peek() != ']') {
      if (peek() == '\\') {
        escape(/*in_class=*/true);
        if (peek() == '-' && peek(1) != ']') minus_after_escape();
      } else if (peek() == '[') {
        refuse("a class inside a class");
      } else if (peek() == '&' && peek(1) == '&') {
        refuse("an intersection of classes");
      } else {
        copy(1);
      }
    }
    if (done()) refuse("an open class");
    copy(1);
  }

  // A set cannot begin a range, but the last member it is spelled out with could.
  void minus_after_escape() {
    const char escaped = pattern_[at_ - 1];
    if (escaped == 's' || escaped == 'w' || escaped == 'd' || escaped == '}')
      refuse("'-' after a set");
  }

  // (?m) is "dot matches newline" in Oniguruma and "multi-line" in PCRE2; only (?i) is alike.
  void group() {
    copy(1);
    if (peek() == '*') refuse("(*");
    if (peek() != '?') return;
    const char kind = peek(1);
    if (kind == ':' || kind == '=' || kind == '!' || kind == '>') return copy(2);
    if (kind == '<' && (peek(2) == '=' || peek(2) == '!')) return copy(3);
    size_t length = 1;
    while (peek(length) == 'i' || peek(length) == '-') ++length;
    if (length == 1 || (peek(length) != ':' && peek(length) != ')')) refuse("this kind of group");
    copy(length + 1);
  }

  void interval() {
    size_t length = 1;
    while (peek(length) >= '0' && peek(length) <= '9') ++length;
    if (length == 1) refuse("'{' without a count");
    if (peek(length) == ',') ++length;
    while (peek(length) >= '0' && peek(length) <= '9') ++length;
    if (peek(length) != '}') refuse("an open '{'");
    copy(length + 1);
    // Oniguruma repeats the repetition; PCRE2 makes it possessive.
    if (peek() == '+') refuse("'+' after an interval");
  }

  std::string_view pattern_;
  std::string_view where_;
  std::string_view field_;
  size_t at_ = 0;
  std::string out_;
};

}  // namespace

std::string translate_oniguruma(std::string_view pattern, std::string_view where,
                                std::string_view field) {
  return Translator(pattern, where, field).run();
}

}  // namespace dak
