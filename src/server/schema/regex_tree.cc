#include "server/schema/regex_tree.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace dak {
namespace {

using Kind = RegexTree::Kind;

constexpr int kMostRepeats = 1000;
constexpr int kDeepest = 64;
constexpr CodeRange kSurrogates{0xD800, 0xDFFF};

// What a class escape holds: to every validator, and to some.
struct Escape {
  CodeSet surely;
  CodeSet perhaps;
};

const CodeSet kBeyondAscii{{0x80, kLastCodePoint}};

CodeSet joined(const CodeSet& a, const CodeSet& b) {
  std::vector<CodeRange> all = a;
  all.insert(all.end(), b.begin(), b.end());
  return set_of(std::move(all));
}

Escape class_escape(uint32_t letter) {
  CodeSet ascii;
  CodeSet wide;
  switch (letter | 0x20U) {
    case 'd':
      ascii = {{'0', '9'}};
      wide = kBeyondAscii;
      break;
    case 'w':
      ascii = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
      wide = kBeyondAscii;
      break;
    default:  // s
      ascii = {{'\t', '\r'}, {' ', ' '}};
      wide = {{0x1C, 0x1F},     {0x85, 0x85},     {0xA0, 0xA0},     {0x1680, 0x1680},
              {0x180E, 0x180E}, {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F},
              {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
  }
  const CodeSet perhaps = joined(ascii, wide);
  const bool negated = letter < 'a';
  return negated ? Escape{outside(perhaps), outside(ascii)} : Escape{ascii, perhaps};
}

class Parser {
 public:
  Parser(std::string_view pattern, bool widest) : widest_(widest) {
    const auto text = code_points(pattern);
    if (!text) throw RegexError("is no valid UTF-8");
    text_ = *text;
  }

  RegexTree parse() {
    RegexTree tree = either();
    if (at_ < text_.size()) throw RegexError("has a ')' without a '('");
    return tree;
  }

 private:
  bool more() const { return at_ < text_.size(); }
  uint32_t peek() const { return more() ? text_[at_] : 0; }
  bool take(uint32_t wanted) {
    if (!more() || text_[at_] != wanted) return false;
    ++at_;
    return true;
  }
  bool take(std::string_view wanted) {
    if (at_ + wanted.size() > text_.size()) return false;
    for (size_t i = 0; i < wanted.size(); ++i) {
      if (text_[at_ + i] != static_cast<uint8_t>(wanted[i])) return false;
    }
    at_ += wanted.size();
    return true;
  }
  [[noreturn]] static void unsupported(std::string_view what) {
    throw RegexError(fmt::format("has {}, which dak does not support", what));
  }

  RegexTree either() {
    if (++depth_ > kDeepest) throw RegexError("is nested too deeply");
    RegexTree tree{.kind = Kind::kEither};
    do {
      tree.children.push_back(sequence());
    } while (take('|'));
    --depth_;
    return tree.children.size() == 1 ? RegexTree(tree.children[0]) : tree;
  }

  RegexTree sequence() {
    RegexTree tree{.kind = Kind::kSequence};
    while (more() && peek() != '|' && peek() != ')') tree.children.push_back(repeated());
    return tree;
  }

  RegexTree repeated() {
    RegexTree one = atom();
    int least = 1, most = 1;
    if (!counts(least, most)) return one;
    take('?');  // lazy: the same texts
    if (one.kind != Kind::kSet && one.kind != Kind::kSequence && one.kind != Kind::kEither &&
        one.kind != Kind::kRepeat) {
      throw RegexError("repeats what has no length");
    }
    int again = 0;
    if (counts(again, again)) throw RegexError("has two counts after one another");
    RegexTree tree{.kind = Kind::kRepeat, .least = least, .most = most};
    tree.children.push_back(std::move(one));
    return tree;
  }

  // After an atom: *, +, ? or {...}.
  bool counts(int& least, int& most) {
    const auto set = [&](int low, int high) {
      least = low;
      most = high;
      return true;
    };
    if (take('*')) return set(0, -1);
    if (take('+')) return set(1, -1);
    if (take('?')) return set(0, 1);
    if (!take('{')) return false;
    least = most = number();
    if (take(',')) most = peek() == '}' ? -1 : number();
    if (!take('}')) throw RegexError("has a '{' that is no count");
    if (most >= 0 && least > most) throw RegexError("has a count that ends before it begins");
    return true;
  }

  int number() {
    const size_t begin = at_;
    int value = 0;
    while (more() && peek() >= '0' && peek() <= '9') {
      value = std::min(kMostRepeats + 1, value * 10 + static_cast<int>(text_[at_++] - '0'));
    }
    if (at_ == begin) throw RegexError("has a '{' that is no count");
    if (value > kMostRepeats) throw RegexError(fmt::format("counts above {}", kMostRepeats));
    return value;
  }

  RegexTree atom() {
    if (take('^')) return {.kind = Kind::kBegin};
    if (take('$')) return {.kind = Kind::kEnd};
    if (take('.')) {
      return of(outside({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}));
    }
    if (take('(')) return group();
    if (take('[')) return of(bracket());
    const uint32_t c = text_[at_];
    if (c == '*' || c == '+' || c == '?' || c == '{') throw RegexError("has a count after nothing");
    if (c == '\\') return escape();
    ++at_;
    return of({{c, c}});
  }

  static RegexTree of(CodeSet set) { return {.kind = Kind::kSet, .set = std::move(set)}; }

  RegexTree group() {
    Kind kind = Kind::kSequence;
    if (take("?<=") || take("?<!")) unsupported("a look behind");
    if (take("?=")) {
      kind = Kind::kAhead;
    } else if (take("?!")) {
      kind = Kind::kNotAhead;
    } else if (take("?<") || take("?P<")) {
      while (more() && peek() != '>') ++at_;
      if (!take('>')) throw RegexError("has a name without an end");
    } else if (!take("?:") && peek() == '?') {
      unsupported("a group with flags");
    }
    RegexTree tree{.kind = kind};
    // A set of its own means the same in any case; ahead, what it may be to some must not come.
    const bool outer = widest_;
    if (kind == Kind::kNotAhead) widest_ = !widest_;
    tree.children.push_back(either());
    widest_ = outer;
    if (!take(')')) throw RegexError("has a '(' without a ')'");
    return tree;
  }

  RegexTree escape() {
    ++at_;
    if (!more()) throw RegexError("ends in a backslash");
    const uint32_t c = peek();
    if (c < 0x80 &&
        std::string_view("dDwWsS").find(static_cast<char>(c)) != std::string_view::npos) {
      ++at_;
      const Escape both = class_escape(c);
      return of(widest_ ? both.perhaps : both.surely);
    }
    if (c == 'b' || c == 'B') unsupported("a word boundary (\\b)");
    if (c >= '1' && c <= '9') unsupported("a reference to a group (\\1)");
    if (c == 'k') unsupported("a reference to a group (\\k)");
    const uint32_t single = single_escape();
    return of({{single, single}});
  }

  // The one code point that an escape stands for, after the backslash.
  uint32_t single_escape() {
    const uint32_t c = text_[at_++];
    switch (c) {
      case 'n':
        return '\n';
      case 't':
        return '\t';
      case 'r':
        return '\r';
      case 'f':
        return '\f';
      case 'v':
        return '\v';
      case '0':
        return 0;
      case 'x':
        return hex(2);
      case 'u':
        return unicode();
      case 'p':
      case 'P':
        unsupported("a property of Unicode (\\p)");
      default:
        break;
    }
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '1' && c <= '9');
    if (letter) throw RegexError(fmt::format("has the unknown escape \\{}", static_cast<char>(c)));
    return c;
  }

  uint32_t hex(int digits) {
    uint32_t value = 0;
    for (int i = 0; i < digits; ++i) {
      const uint32_t c = peek();
      const bool digit = c >= '0' && c <= '9';
      const uint32_t letter = c | 0x20U;
      if (!digit && (letter < 'a' || letter > 'f')) throw RegexError("has an escape cut short");
      value = value << 4 | (digit ? c - '0' : letter - 'a' + 10);
      ++at_;
    }
    return value;
  }

  uint32_t unicode() {
    if (!take('{')) {
      const uint32_t high = hex(4);
      if (high < 0xD800 || high > 0xDBFF || !take("\\u")) return high;
      const uint32_t low = hex(4);
      if (low < 0xDC00 || low > 0xDFFF) throw RegexError("has half a surrogate pair");
      return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
    }
    uint32_t value = 0;
    while (more() && !take('}')) {
      value = value << 4 | hex(1);
      if (value > kLastCodePoint) throw RegexError("names what is no code point");
    }
    return value;
  }

  CodeSet bracket() {
    const bool negated = take('^');
    const bool wide = widest_ != negated;
    std::vector<CodeRange> ranges;
    while (!take(']')) {
      if (!more()) throw RegexError("has a '[' without a ']'");
      const auto first = member(ranges, wide);
      const bool ranged = first && peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']';
      if (!first) continue;
      uint32_t last = *first;
      if (ranged) {
        ++at_;
        const auto end = member(ranges, wide);
        if (!end || *end < *first) throw RegexError("has a range that ends before it begins");
        last = *end;
      }
      ranges.push_back({*first, last});
    }
    const CodeSet set = set_of(std::move(ranges));
    return negated ? outside(set) : set;
  }

  // One code point, or none where a class escape was added to `ranges`.
  std::optional<uint32_t> member(std::vector<CodeRange>& ranges, bool wide) {
    if (!take('\\')) return text_[at_++];
    if (!more()) throw RegexError("ends in a backslash");
    const uint32_t c = peek();
    if (take('b')) return '\b';
    if (c >= 0x80 ||
        std::string_view("dDwWsS").find(static_cast<char>(c)) == std::string_view::npos)
      return single_escape();
    ++at_;
    const Escape both = class_escape(c);
    for (const CodeRange& range : wide ? both.perhaps : both.surely) ranges.push_back(range);
    return {};
  }

  std::vector<uint32_t> text_;
  size_t at_ = 0;
  int depth_ = 0;
  bool widest_;  // turned round inside what must not come
};

}  // namespace

CodeSet set_of(std::vector<CodeRange> ranges) {
  std::ranges::sort(ranges, {}, &CodeRange::first);
  CodeSet out;
  for (const CodeRange& range : ranges) {
    if (!out.empty() && range.first <= out.back().last + 1) {
      out.back().last = std::max(out.back().last, range.last);
    } else {
      out.push_back(range);
    }
  }
  return out;
}

CodeSet outside(const CodeSet& set) {
  std::vector<CodeRange> taken = set;
  taken.push_back(kSurrogates);
  CodeSet out;
  uint32_t next = 0;
  for (const CodeRange& range : set_of(std::move(taken))) {
    if (range.first > next) out.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kLastCodePoint) out.push_back({next, kLastCodePoint});
  return out;
}

RegexTree parse_regex(std::string_view pattern, bool widest) {
  return Parser(pattern, widest).parse();
}

}  // namespace dak
