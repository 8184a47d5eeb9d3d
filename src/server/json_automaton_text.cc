// Strings and numbers of JsonAutomaton, and what arrays without repetition remember of them.
#include <algorithm>
#include <bit>

#include "server/json_automaton.h"

namespace dak {
namespace {

enum StringPhase : uint8_t {
  kPlain,
  kEscape,
  kHex1,  // before each digit of \uXXXX
  kHex2,
  kHex3,
  kHex4,
  kLowBackslash,  // the second half of a surrogate pair
  kLowU,
  kLow1,
  kLow2,
  kLow3,
  kLow4
};

constexpr uint32_t kHighSurrogate = 0xD800;
constexpr uint32_t kLowSurrogate = 0xDC00;
constexpr uint32_t kAfterSurrogates = 0xE000;

std::optional<uint32_t> hex_digit(uint8_t byte) {
  if (byte >= '0' && byte <= '9') return byte - '0';
  const uint8_t letter = byte | 0x20;
  if (letter >= 'a' && letter <= 'f') return letter - 'a' + 10;
  return {};
}

// The first code point of the pairs that begin with `high`.
uint32_t above_pairs(uint32_t high) { return 0x10000 + ((high - kHighSurrogate) << 10); }

// What an escape of one letter stands for.
std::optional<uint32_t> plain_escape(uint8_t byte) {
  constexpr std::string_view kLetters = "\"\\/bfnrt";
  constexpr std::string_view kMeant = "\"\\/\b\f\n\r\t";
  const size_t at = kLetters.find(static_cast<char>(byte));
  if (at == std::string_view::npos) return {};
  return static_cast<uint8_t>(kMeant[at]);
}

}  // namespace

bool JsonAutomaton::in_string(uint32_t top) const {
  const Cell& cell = cells_[top];
  return cell.type == Type::kString && cell.phase == kPlain &&
         (cell.node == kNoNode || grammar_.node(cell.node).text < 0);
}

std::optional<JsonAutomaton::RuledPlace> JsonAutomaton::ruled_place(uint32_t top) const {
  const Cell& cell = cells_[top];
  if (cell.type != Type::kString || cell.phase != kPlain || cell.node == kNoNode) return {};
  const TextRule* const rule = grammar_.text(grammar_.node(cell.node));
  if (rule == nullptr || is_item(cell)) return {};
  return RuledPlace{rule, {cell.name, cell.count}, cell.partial, cell.more};
}

bool JsonAutomaton::RuledPlace::step(uint8_t byte) {
  constexpr uint32_t kLowest[] = {0, 0x80, 0x800, 0x10000};  // by the bytes after the first one
  uint32_t lowest = 0;
  if (more > 0) {
    if ((byte & 0xC0) != 0x80) return false;
    partial = partial << 6 | (byte & 0x3F);
    --more;
    const bool too_long = (more == 1 && partial < 0x20) || (more == 2 && partial < 0x10);
    const bool surrogate =
        more == 1 && partial >= kHighSurrogate >> 6 && partial < kAfterSurrogates >> 6;
    if (too_long || surrogate) return false;
  } else {
    if ((byte >= 0x80 && byte < 0xC2) || byte > 0xF4) return false;
    more = byte < 0x80 ? 0 : byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
    partial = more == 0 ? byte : byte & (0x3FU >> more);
    lowest = kLowest[more];
  }
  if (more == 0) {
    const auto after = rule->next(place, partial);
    if (!after) return false;
    place = *after;
    return true;
  }
  // What the bytes still to come may make of the bits.
  const uint32_t shift = 6U * more;
  const uint32_t first = std::max(partial << shift, lowest);
  const uint32_t last = (partial << shift) | ((1U << shift) - 1);
  return first <= last && first <= kLastCodePoint && rule->any_between(place, first, last);
}

void JsonAutomaton::step_string(Cell cell, uint8_t byte, State& out) {
  if (cell.phase >= kLowBackslash) return step_surrogate(cell, byte, out);
  if (cell.phase != kPlain) return step_escape(cell, byte, out);
  const TextRule* const rule = rule_of(cell);
  const bool between = cell.more == 0;
  if (byte == '"') {
    const bool may_end = rule == nullptr || rule->may_end({cell.name, cell.count});
    if (between && may_end && is_new_item(cell)) add(out, after_item(cell));
    return;
  }
  if (byte < 0x20) return;
  if (byte == '\\') {
    cell.phase = kEscape;
    if (between && could_be(cell, 0, kLastCodePoint)) add(out, push(cell));
    return;
  }
  if (rule != nullptr) {
    RuledPlace at{rule, {cell.name, cell.count}, cell.partial, cell.more};
    if (!at.step(byte)) return;
    cell.partial = at.partial;
    cell.more = at.more;
    if (at.more == 0 && !take(cell, at.partial)) return;
  }
  add(out, push(cell));
}

void JsonAutomaton::step_escape(Cell cell, uint8_t byte, State& out) {
  if (cell.phase == kEscape) {
    if (byte == 'u') {
      cell.phase = kHex1;
      cell.partial = 0;
      return add(out, push(cell));
    }
    const auto meant = plain_escape(byte);
    if (meant && take(cell, *meant)) add(out, push(cell));
    return;
  }
  const auto digit = hex_digit(byte);
  if (!digit) return;
  cell.partial = cell.partial << 4 | *digit;
  const uint32_t shift = 4U * (kHex4 - cell.phase);
  const uint32_t first = cell.partial << shift;
  const uint32_t last = first | ((1U << shift) - 1);
  const bool high = first < kLowSurrogate && last >= kHighSurrogate;
  const uint32_t from = std::max(first, kHighSurrogate);
  const uint32_t to = std::min(last, kLowSurrogate - 1);
  const bool could_be_pair =
      high &&
      could_be(cell, above_pairs(from), above_pairs(to) + (kAfterSurrogates - kLowSurrogate) - 1);
  const bool could_be_one =
      (first < kHighSurrogate && could_be(cell, first, std::min(last, kHighSurrogate - 1))) ||
      (last >= kAfterSurrogates && could_be(cell, std::max(first, kAfterSurrogates), last));
  if (!could_be_one && !could_be_pair) return;
  if (cell.phase != kHex4) {
    ++cell.phase;
  } else if (could_be_pair) {
    cell.phase = kLowBackslash;
  } else if (!take(cell, cell.partial)) {
    return;
  }
  add(out, push(cell));
}

// The second half of a pair; the first one is in the upper bits of `partial`.
void JsonAutomaton::step_surrogate(Cell cell, uint8_t byte, State& out) {
  if (cell.phase == kLowBackslash || cell.phase == kLowU) {
    const uint8_t wanted = cell.phase == kLowU ? 'u' : '\\';
    if (byte != wanted) return;
    if (++cell.phase == kLow1) cell.partial <<= 16;
    return add(out, push(cell));
  }
  const auto digit = hex_digit(byte);
  if (!digit) return;
  const uint32_t low = (cell.partial & 0xFFFF) << 4 | *digit;
  const uint32_t high = cell.partial >> 16;
  cell.partial = high << 16 | low;
  const uint32_t shift = 4U * (kLow4 - cell.phase);
  const uint32_t first = std::max(low << shift, kLowSurrogate);
  const uint32_t last = std::min((low << shift) | ((1U << shift) - 1), kAfterSurrogates - 1);
  const uint32_t base = above_pairs(high) - kLowSurrogate;
  if (first > last || !could_be(cell, base + first, base + last)) return;
  if (cell.phase != kLow4) {
    ++cell.phase;
  } else if (!take(cell, base + low)) {
    return;
  }
  add(out, push(cell));
}

const TextRule* JsonAutomaton::rule_of(const Cell& cell) const {
  return cell.node == kNoNode ? nullptr : grammar_.text(grammar_.node(cell.node));
}

bool JsonAutomaton::could_be(const Cell& cell, uint32_t first, uint32_t last) const {
  const TextRule* const rule = rule_of(cell);
  return rule == nullptr || rule->any_between({cell.name, cell.count}, first, last);
}

// The next character of a string or a number; false where none with it is allowed.
bool JsonAutomaton::take(Cell& cell, uint32_t code_point) {
  cell.phase = kPlain;
  cell.partial = 0;
  const TextRule* const rule = rule_of(cell);
  if (rule == nullptr) return true;
  const auto after = rule->next({cell.name, cell.count}, code_point);
  if (!after) return false;
  cell.name = after->state;
  cell.count = after->count;
  if (!is_item(cell)) return true;
  // Those that still begin as this item does are texts that it must not become.
  uint32_t at = cells_[cell.parent].seen;
  for (uint32_t i = cells_[cell.parent].count - 1; i-- > 0; at = seen_[at].before) {
    const std::vector<uint32_t>& text = seen_[at].text;
    const bool same = cell.made < text.size() && text[cell.made] == code_point;
    if (!same) cell.used &= ~(uint64_t{1} << i);
  }
  if (rule->endings(*after) <= std::popcount(cell.used)) return false;
  trails_.push_back({cell.trail, code_point});
  cell.trail = static_cast<uint32_t>(trails_.size() - 1);
  ++cell.made;
  return true;
}

bool JsonAutomaton::is_item(const Cell& cell) const {
  const Cell& parent = cells_[cell.parent];
  return parent.type == Type::kArray && grammar_.node(parent.node).unique;
}

// `cell` before its first character.
void JsonAutomaton::begin_text(Cell& cell) const {
  if (is_item(cell)) cell.used = (uint64_t{1} << (cells_[cell.parent].count - 1)) - 1;
}

bool JsonAutomaton::is_new_item(const Cell& cell) const {
  if (!is_item(cell)) return true;
  uint32_t at = cells_[cell.parent].seen;
  for (uint32_t i = cells_[cell.parent].count - 1; i-- > 0; at = seen_[at].before) {
    if ((cell.used >> i & 1) != 0 && seen_[at].text.size() == cell.made) return false;
  }
  return true;
}

// What goes on after a string or a number.
uint32_t JsonAutomaton::after_item(const Cell& cell) {
  if (!is_item(cell)) return cell.parent;
  std::vector<uint32_t> text;
  for (uint32_t at = cell.trail; at != 0; at = trails_[at].before) {
    text.push_back(trails_[at].code_point);
  }
  std::ranges::reverse(text);
  Cell array = cells_[cell.parent];
  seen_.push_back({array.seen, std::move(text)});
  array.seen = static_cast<uint32_t>(seen_.size() - 1);
  return push(array);
}

bool JsonAutomaton::may_end_number(const Cell& cell) const {
  return rule_of(cell)->may_end({cell.name, cell.count}) && is_new_item(cell);
}

void JsonAutomaton::step_number(Cell cell, uint8_t byte, State& out) {
  Cell next = cell;
  if (take(next, byte)) return add(out, push(next));
  if (may_end_number(cell)) step(after_item(cell), byte, out);
}

}  // namespace dak
