#include "text/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

#include "text/jinja/text.h"

namespace dak::jinja {
namespace {

constexpr size_t kMaxSourceBytes = size_t{1} << 20;  // the longest real templates are 20 KiB

constexpr std::array<std::string_view, 26> kOperators = {  // longer ones first
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
    "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};

bool is_digit_char(char c) { return c >= '0' && c <= '9'; }
bool is_hex_char(char c) {
  return is_digit_char(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}
// Any byte of a non-ASCII letter counts as one of a name.
bool is_name_char(char c) {
  return is_digit_char(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

// One kind of line end, and no newline at the very end: jinja2 drops one.
std::string normalise_lines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

class Lexer {
 public:
  Lexer(std::string source, std::string_view where) : source_(std::move(source)), where_(where) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) lex_text();
    add(TokenKind::kEnd);
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void error(std::string_view problem) const {
    throw_template_error(ErrorCode::kCorrupt, where_, line_, problem);
  }

  Token& add(TokenKind kind, std::string text = {}) {
    Token& token = tokens_.emplace_back();
    token.kind = kind;
    token.line = line_;
    token.text = std::move(text);
    return token;
  }

  std::string_view rest() const { return std::string_view(source_).substr(at_); }
  bool looking_at(std::string_view text) const { return rest().substr(0, text.size()) == text; }
  char peek(size_t ahead = 0) const {
    return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0';
  }

  void advance_to(size_t end) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<ptrdiff_t>(at_),
                                         source_.begin() + static_cast<ptrdiff_t>(end), '\n'));
    at_ = end;
  }

  void skip_space() {
    const std::string_view text = rest();
    advance_to(at_ + text.size() - strip_space(text, Side::kLeft).size());
  }

  // Plain text up to the next tag, and the tag.
  void lex_text() {
    size_t tag = at_;
    while (true) {
      tag = source_.find('{', tag);
      if (tag == std::string::npos) {
        add(TokenKind::kText, source_.substr(at_));
        advance_to(source_.size());
        return;
      }
      const char next = tag + 1 < source_.size() ? source_[tag + 1] : '\0';
      if (next == '%' || next == '{' || next == '#') break;
      ++tag;
    }
    const char type = source_[tag + 1];
    const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    const bool signed_tag = sign == '-' || sign == '+';
    add_text(std::string_view(source_).substr(at_, tag - at_), sign, type != '{');
    advance_to(tag + (signed_tag ? 3 : 2));
    line_starting_ = false;
    if (type == '#') {
      lex_comment();
    } else if (type == '%' && try_raw()) {
      return;
    } else {
      lex_tag(type == '{');
    }
  }

  // Text before a tag: "-" strips all whitespace, lstrip_blocks that of the tag's own line.
  void add_text(std::string_view text, char sign, bool lstrip) {
    if (sign == '-') {
      text = strip_space(text, Side::kRight);
    } else if (sign != '+' && lstrip) {
      const size_t newline = text.rfind('\n');
      const size_t begin = newline == std::string_view::npos ? 0 : newline + 1;
      if ((begin > 0 || line_starting_) && strip_space(text.substr(begin)).empty()) {
        text = text.substr(0, begin);
      }
    }
    if (!text.empty()) add(TokenKind::kText, std::string(text));
  }

  // After a tag that ended at `end`: "-" strips what follows, trim_blocks one newline.
  void finish_tag(size_t end, char sign, bool trim) {
    advance_to(end);
    if (sign == '-') {
      skip_space();
    } else if (sign != '+' && trim && peek() == '\n') {
      advance_to(at_ + 1);
    }
    line_starting_ = at_ > 0 && source_[at_ - 1] == '\n';
  }

  void lex_comment() {
    const size_t close = source_.find("#}", at_);
    if (close == std::string::npos) error("a comment has no end '#}'");
    finish_tag(close + 2, close > at_ ? source_[close - 1] : '\0', true);
  }

  // After "{%" or "{%-": `raw %}` and all up to the matching endraw.
  bool try_raw() {
    const size_t begin = at_;
    const int line = line_;
    skip_space();
    if (!looking_at("raw")) return backtrack(begin, line);
    at_ += 3;
    skip_space();
    const bool minus = looking_at("-%}");
    if (!minus && !looking_at("%}")) return backtrack(begin, line);
    finish_tag(at_ + (minus ? 3 : 2), minus ? '-' : '\0', false);
    for (size_t tag = source_.find("{%", at_); tag != std::string::npos;
         tag = source_.find("{%", tag + 1)) {
      if (finish_raw(tag)) return true;
    }
    error("a raw block has no end '{% endraw %}'");
  }

  bool backtrack(size_t begin, int line) {
    at_ = begin;
    line_ = line;
    return false;
  }

  bool finish_raw(size_t tag) {
    const char open_sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    const size_t text_begin = at_;
    const int line = line_;
    at_ = tag + (open_sign == '-' || open_sign == '+' ? 3 : 2);
    skip_space();
    if (!looking_at("endraw")) return backtrack(text_begin, line);
    at_ += 6;
    skip_space();
    const char close_sign = peek() == '-' || peek() == '+' ? peek() : '\0';
    const size_t close = at_ + (close_sign != '\0' ? 1 : 0);
    if (source_.compare(close, 2, "%}") != 0) return backtrack(text_begin, line);
    backtrack(text_begin, line);
    add_text(std::string_view(source_).substr(text_begin, tag - text_begin), open_sign, true);
    finish_tag(close + 2, close_sign, true);
    return true;
  }

  void lex_tag(bool print) {
    add(print ? TokenKind::kPrintBegin : TokenKind::kBlockBegin);
    open_.clear();
    while (true) {
      skip_space();
      if (at_ >= source_.size()) return;  // the parser says what is missing
      if (open_.empty() && try_tag_end(print)) return;
      lex_token();
    }
  }

  bool try_tag_end(bool print) {
    const std::string_view end = print ? "}}" : "%}";
    const char sign = peek() == '-' || (peek() == '+' && !print) ? peek() : '\0';
    const size_t skip = sign != '\0' ? 1 : 0;
    if (source_.compare(at_ + skip, 2, end) != 0) return false;
    add(print ? TokenKind::kPrintEnd : TokenKind::kBlockEnd);
    finish_tag(at_ + skip + 2, sign, !print);
    return true;
  }

  void lex_token() {
    if (is_digit_char(peek())) {
      lex_number();
    } else if (is_name_char(peek())) {
      size_t end = at_;
      while (end < source_.size() && is_name_char(source_[end])) ++end;
      add(TokenKind::kName, source_.substr(at_, end - at_));
      at_ = end;
    } else if (peek() == '\'' || peek() == '"') {
      lex_string();
    } else {
      lex_operator();
    }
  }

  // The end of the digits at `from`, single underscores between them allowed.
  template <class IsDigit>
  size_t digits_end(size_t from, IsDigit accepts) const {
    size_t end = from;
    while (end < source_.size() &&
           (accepts(source_[end]) || (source_[end] == '_' && end > from &&
                                      end + 1 < source_.size() && accepts(source_[end + 1])))) {
      ++end;
    }
    return end;
  }

  void lex_number() {
    if (peek() == '0' && lex_prefixed_integer()) return;
    const size_t whole = digits_end(at_, is_digit_char);
    size_t end = whole;
    bool real = false;
    const bool after_dot = at_ > 0 && source_[at_ - 1] == '.';  // x.0.1 is two subscripts
    if (!after_dot && end < source_.size() && source_[end] == '.') {
      const size_t fraction = digits_end(end + 1, is_digit_char);
      if (fraction > end + 1) {
        end = fraction;
        real = true;
      }
    }
    if (!after_dot && end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      const size_t sign =
          end + 1 < source_.size() && (source_[end + 1] == '+' || source_[end + 1] == '-') ? 1 : 0;
      const size_t exponent = digits_end(end + 1 + sign, is_digit_char);
      if (exponent > end + 1 + sign) {
        end = exponent;
        real = true;
      }
    }
    std::string text = source_.substr(at_, end - at_);
    std::erase(text, '_');
    if (real) {
      double& value = add(TokenKind::kFloat).real;
      const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
      if (result.ec == std::errc::result_out_of_range) {  // as Python reads it: infinity or 0
        const bool tiny = text.find("e-") != text.npos || text.find("E-") != text.npos;
        value = tiny ? 0 : std::numeric_limits<double>::infinity();
      }
    } else {
      if (text.size() > 1 && text.front() == '0' &&
          text.find_first_not_of('0') != std::string::npos) {
        error("an integer starts with 0");
      }
      add_integer(text, 10);
    }
    at_ = end;
  }

  bool lex_prefixed_integer() {
    const char letter = static_cast<char>(peek(1) | 0x20);
    const int base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
    if (base == 0) return false;
    const auto accepts = [base](char c) {
      return base == 16 ? is_hex_char(c) : c >= '0' && c < '0' + base;
    };
    const size_t begin = at_ + (peek(2) == '_' ? 3 : 2);
    const size_t end = digits_end(begin, accepts);
    if (end == begin) return false;
    std::string text = source_.substr(begin, end - begin);
    std::erase(text, '_');
    add_integer(text, base);
    at_ = end;
    return true;
  }

  void add_integer(std::string_view text, int base) {
    int64_t value = 0;
    const auto result = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (result.ec != std::errc{}) {
      throw_template_error(ErrorCode::kUnsupported, where_, line_,
                           fmt::format("the integer {}, of more than 64 bits,", printable(text)));
    }
    add(TokenKind::kInteger).integer = value;
  }

  void lex_string() {
    const char quote = peek();
    const int line = line_;
    std::string value;
    size_t i = at_ + 1;
    while (i < source_.size() && source_[i] != quote) {
      if (source_[i] == '\\' && i + 1 < source_.size()) {
        i = unescape(i + 1, value);
      } else {
        value += source_[i++];
      }
    }
    if (i >= source_.size()) error("a string has no closing quote");
    advance_to(i + 1);
    add(TokenKind::kString, std::move(value)).line = line;
  }

  // The escape whose letter is at `at`; returns the place after it.
  size_t unescape(size_t at, std::string& out) {
    static constexpr std::string_view kLetters = "abfnrtv\\'\"";
    static constexpr std::string_view kValues = "\a\b\f\n\r\t\v\\'\"";
    const char letter = source_[at];
    const size_t known = kLetters.find(letter);
    if (letter == '\n') return at + 1;  // a line continued
    if (known != std::string_view::npos) {
      out += kValues[known];
      return at + 1;
    }
    if (letter == 'x') return unescape_hex(at + 1, 2, out);
    if (letter == 'u') return unescape_hex(at + 1, 4, out);
    if (letter == 'U') return unescape_hex(at + 1, 8, out);
    if (letter == 'N') {
      throw_template_error(ErrorCode::kUnsupported, where_, line_, "the string escape \\N{...}");
    }
    if (letter >= '0' && letter <= '7') {
      uint32_t code = 0;
      size_t end = at;
      while (end < at + 3 && end < source_.size() && source_[end] >= '0' && source_[end] <= '7') {
        code = code * 8 + static_cast<uint32_t>(source_[end++] - '0');
      }
      append_utf8(out, code);
      return end;
    }
    out += '\\';  // Python keeps an unknown escape as it is
    out += letter;
    return at + 1;
  }

  size_t unescape_hex(size_t at, size_t digits, std::string& out) {
    uint32_t code = 0;
    const char* begin = source_.data() + std::min(at, source_.size());
    const char* end = source_.data() + std::min(at + digits, source_.size());
    const auto result = std::from_chars(begin, end, code, 16);
    if (result.ec != std::errc{} || result.ptr != begin + digits || code > 0x10ffff) {
      error(fmt::format("a string escape needs {} hexadecimal digits of a code point", digits));
    }
    append_utf8(out, code);
    return at + digits;
  }

  void lex_operator() {
    for (const std::string_view op : kOperators) {
      if (!looking_at(op)) continue;
      balance(op.front());
      add(TokenKind::kOperator, std::string(op));
      at_ += op.size();
      return;
    }
    error(fmt::format("unexpected character '{}'", printable(rest().substr(0, 1))));
  }

  // While a bracket is open, "}}" and "%}" do not end the tag.
  void balance(char c) {
    if (c == '{' || c == '(' || c == '[') {
      open_ += c == '{' ? '}' : c == '(' ? ')' : ']';
    } else if (c == '}' || c == ')' || c == ']') {
      if (open_.empty()) error(fmt::format("unexpected '{}'", c));
      if (open_.back() != c) error(fmt::format("unexpected '{}', expected '{}'", c, open_.back()));
      open_.pop_back();
    }
  }

  std::string source_;
  std::string_view where_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::string open_;  // the brackets that must still close
  std::vector<Token> tokens_;
};

}  // namespace

void throw_template_error(ErrorCode code, std::string_view where, int line,
                          std::string_view problem) {
  throw Error(code, {.where = std::string(where),
                     .field = fmt::format("chat template line {}", line),
                     .value = {},
                     .problem = std::string(problem) +
                                (code == ErrorCode::kUnsupported ? " is not supported" : ""),
                     .fix = {}});
}

std::vector<Token> tokenize(std::string_view source, std::string_view where) {
  if (source.size() > kMaxSourceBytes) {
    throw_template_error(
        ErrorCode::kResourceExhausted, where, 1,
        fmt::format("{} bytes of source; at most {} are read", source.size(), kMaxSourceBytes));
  }
  return Lexer(normalise_lines(source), where).run();
}

}  // namespace dak::jinja
