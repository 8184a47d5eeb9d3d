#include "server/json_automaton.h"

#include <algorithm>
#include <map>

namespace dak {
namespace {

using NodeKind = JsonNode::Kind;

constexpr size_t kMostStacks = 256;
constexpr int kDeepestExpansion = 128;  // of alternatives within alternatives
constexpr uint32_t kMostDigits = 20;  // before, and after the point: a number must come to its end
constexpr uint8_t kNewLine = 128;     // a gap with a line break
constexpr uint8_t kMostIndent = 32;

// Phases.
enum StringPhase : uint8_t { kPlain, kEscape, kHex1, kHex2, kHex3, kHex4 };
enum NumberPhase : uint8_t { kMinus, kZero, kDigits, kPoint, kFraction, kE, kESign, kExponent };
enum ContainerPhase : uint8_t { kFirst, kAfter, kNext, kColon, kBeforeValue };

bool is_digit(uint8_t byte) { return byte >= '0' && byte <= '9'; }
bool is_hex(uint8_t byte) {
  return is_digit(byte) || (byte >= 'a' && byte <= 'f') || (byte >= 'A' && byte <= 'F');
}
bool may_end_number(uint8_t phase) {
  return phase == kZero || phase == kDigits || phase == kFraction || phase == kExponent;
}

}  // namespace

JsonAutomaton::JsonAutomaton(const JsonGrammar& grammar) : grammar_(grammar) {
  cells_.push_back({.type = Type::kEnd});
  start_ = push({.type = Type::kValue, .node = grammar.root(), .parent = 0});
}

uint32_t JsonAutomaton::push(const Cell& cell) {
  cells_.push_back(cell);
  return static_cast<uint32_t>(cells_.size() - 1);
}

void JsonAutomaton::add(State& out, uint32_t top) const {
  const auto same = [&](uint32_t other) { return cells_[other] == cells_[top]; };
  if (std::ranges::any_of(out, same)) return;
  if (out.size() >= kMostStacks) {
    throw_invalid("response_format", {}, {}, "has too many ways to read one answer",
                  "use fewer alternatives that begin alike");
  }
  out.push_back(top);
}

JsonAutomaton::State JsonAutomaton::after(const State& state, uint8_t byte) {
  State out;
  for (const uint32_t top : state) step(top, byte, out);
  return out;
}

bool JsonAutomaton::may_end(const State& state) const {
  return std::ranges::any_of(state, [this](uint32_t top) {
    const Cell& cell = cells_[top];
    return cell.type == Type::kEnd || (cell.type == Type::kNumber && may_end_number(cell.phase) &&
                                       cells_[cell.parent].type == Type::kEnd);
  });
}

bool JsonAutomaton::in_string(uint32_t top) const {
  return cells_[top].type == Type::kString && cells_[top].phase == kPlain;
}

void JsonAutomaton::compact(State& state) {
  std::vector<Cell> kept;
  std::map<uint32_t, uint32_t> moved;
  // Parents are always older than what stands on them.
  std::vector<uint32_t> wanted{0, start_};
  for (const uint32_t top : state) {
    for (uint32_t at = top; at != 0; at = cells_[at].parent) wanted.push_back(at);
  }
  std::ranges::sort(wanted);
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  for (const uint32_t at : wanted) {
    moved[at] = static_cast<uint32_t>(kept.size());
    Cell cell = cells_[at];
    cell.parent = moved.at(cell.parent);
    kept.push_back(cell);
  }
  for (uint32_t& top : state) top = moved.at(top);
  start_ = moved.at(start_);
  cells_ = std::move(kept);
}

void JsonAutomaton::step(uint32_t top, uint8_t byte, State& out) {
  const Cell cell = cells_[top];
  switch (cell.type) {
    case Type::kEnd:
      return;
    case Type::kValue:
      return begin_value(cell.node, cell.parent, byte, out);
    case Type::kString:
      return step_string(cell, byte, out);
    case Type::kNumber:
      return step_number(cell, byte, out);
    case Type::kText:
      return begin_text(cell.node, cell.name, top, byte, out);
    case Type::kObject:
      return step_object(cell, byte, out);
    case Type::kArray:
      return step_array(cell, byte, out);
    case Type::kSequence: {
      const std::vector<NodeId>& parts = grammar_.node(cell.node).children;
      return begin_value(parts[cell.count], next_part(cell), byte, out);
    }
  }
}

// What goes on after the part that `cell` is at.
uint32_t JsonAutomaton::next_part(Cell cell) {
  if (++cell.count == grammar_.node(cell.node).children.size()) return cell.parent;
  return push(cell);
}

void JsonAutomaton::begin_value(NodeId id, uint32_t parent, uint8_t byte, State& out) {
  const JsonNode& node = grammar_.node(id);
  const bool any = node.kind == NodeKind::kAny;
  switch (node.kind) {
    case NodeKind::kOneOf:
      if (++depth_ > kDeepestExpansion) {
        depth_ = 0;
        throw_invalid("response_format", {}, {}, "has alternatives nested too deeply");
      }
      for (const NodeId child : node.children) begin_value(child, parent, byte, out);
      --depth_;
      return;
    case NodeKind::kSequence: {
      const Cell cell{.type = Type::kSequence, .node = id, .parent = parent};
      return begin_value(node.children[0], next_part(cell), byte, out);
    }
    case NodeKind::kText:
      for (uint32_t i = 0; i < node.names.size(); ++i) {
        const uint32_t text = push({.type = Type::kText, .node = id, .name = i, .parent = parent});
        begin_text(id, i, text, byte, out);
      }
      return;
    default:
      break;
  }
  if (byte == '{' && (any || node.kind == NodeKind::kObject)) {
    add(out, push({.type = Type::kObject, .phase = kFirst, .node = id, .parent = parent}));
  } else if (byte == '[' && (any || node.kind == NodeKind::kArray)) {
    add(out, push({.type = Type::kArray, .phase = kFirst, .node = id, .parent = parent}));
  } else if (byte == '"' && (any || node.kind == NodeKind::kString)) {
    add(out, push({.type = Type::kString, .phase = kPlain, .parent = parent}));
  } else if ((byte == '-' || is_digit(byte)) &&
             (any || node.kind == NodeKind::kInteger || node.kind == NodeKind::kNumber)) {
    const uint8_t phase = byte == '-' ? kMinus : byte == '0' ? kZero : kDigits;
    add(out,
        push({.type = Type::kNumber, .phase = phase, .node = id, .count = 1, .parent = parent}));
  } else if (any && (byte == 't' || byte == 'f' || byte == 'n')) {
    const uint32_t name = byte == 't' ? 0 : byte == 'f' ? 1 : 2;
    add(out, push({.type = Type::kText, .node = id, .name = name, .count = 1, .parent = parent}));
  }
}

// `top` is a kText cell at its next byte.
void JsonAutomaton::begin_text(NodeId id, uint32_t name, uint32_t top, uint8_t byte, State& out) {
  constexpr std::string_view kWords[] = {"true", "false", "null"};
  const JsonNode& node = grammar_.node(id);
  const std::string_view text = node.kind == NodeKind::kAny ? kWords[name] : node.names[name];
  Cell cell = cells_[top];
  if (static_cast<uint8_t>(text[cell.count]) != byte) return;
  if (++cell.count == text.size()) return add(out, cell.parent);
  add(out, push(cell));
}

void JsonAutomaton::step_string(Cell cell, uint8_t byte, State& out) {
  if (cell.phase == kPlain) {
    if (byte == '"') return add(out, cell.parent);
    if (byte < 0x20) return;
    if (byte == '\\') cell.phase = kEscape;
  } else if (cell.phase == kEscape) {
    if (byte == 'u') {
      cell.phase = kHex1;
    } else if (std::string_view("\"\\/bfnrt").find(static_cast<char>(byte)) !=
               std::string_view::npos) {
      cell.phase = kPlain;
    } else {
      return;
    }
  } else {
    if (!is_hex(byte)) return;
    cell.phase = cell.phase == kHex4 ? uint8_t{kPlain} : static_cast<uint8_t>(cell.phase + 1);
  }
  add(out, push(cell));
}

void JsonAutomaton::step_number(Cell cell, uint8_t byte, State& out) {
  const bool whole = grammar_.node(cell.node).kind == NodeKind::kInteger;
  const auto go = [&](uint8_t phase) {
    cell.count = phase == cell.phase ? cell.count + 1 : 1;
    cell.phase = phase;
    if (cell.count <= kMostDigits) add(out, push(cell));
  };
  const bool before_point = cell.phase == kZero || cell.phase == kDigits;
  const bool may_scale = !whole && (before_point || cell.phase == kFraction);
  if (is_digit(byte)) {
    switch (cell.phase) {
      case kMinus:
        return go(byte == '0' ? kZero : kDigits);
      case kDigits:
        return go(kDigits);
      case kPoint:
      case kFraction:
        return go(kFraction);
      case kE:
      case kESign:
        return go(kExponent);
      case kExponent:
        if (cell.count < 3) go(kExponent);
        return;
      default:
        return;  // no digit follows a leading zero
    }
  }
  if (byte == '.' && before_point && !whole) return go(kPoint);
  if ((byte == 'e' || byte == 'E') && may_scale) return go(kE);
  if ((byte == '+' || byte == '-') && cell.phase == kE) return go(kESign);
  if (may_end_number(cell.phase)) step(cell.parent, byte, out);
}

// White space: one space, or a line break with what indents the next line. More would let a model
// that likes white space go on for ever.
bool JsonAutomaton::step_gap(Cell& cell, uint8_t byte, State& out) {
  const bool space = byte == ' ' || byte == '\t';
  if (byte == '\n' && cell.gap == 0) {
    cell.gap = kNewLine;
  } else if (byte == ' ' && cell.gap == 0) {
    cell.gap = 1;
  } else if (space && cell.gap >= kNewLine && cell.gap < kNewLine + kMostIndent) {
    ++cell.gap;
  } else {
    cell.gap = 0;
    return space || byte == '\n';
  }
  add(out, push(cell));
  return true;
}

void JsonAutomaton::begin_key(const Cell& cell, State& out) {
  const JsonNode& node = grammar_.node(cell.node);
  if (node.kind == NodeKind::kAny || node.names.empty()) {
    Cell after = cell;
    after.phase = kColon;
    add(out, push({.type = Type::kString, .phase = kPlain, .parent = push(after)}));
    return;
  }
  // Any of those up to the next that must come.
  for (uint32_t i = cell.count; i < node.names.size(); ++i) {
    Cell after = cell;
    after.phase = kColon;
    after.count = i;
    add(out, push({.type = Type::kText,
                   .node = cell.node,
                   .name = i,
                   .count = 1,
                   .parent = push(after)}));
    if (node.required[i]) return;
  }
}

void JsonAutomaton::step_object(Cell cell, uint8_t byte, State& out) {
  const JsonNode& node = grammar_.node(cell.node);
  const bool free = node.kind == NodeKind::kAny || node.names.empty();
  if (cell.phase == kColon) {
    cell.phase = kBeforeValue;
    if (byte == ':') add(out, push(cell));
    return;
  }
  if (step_gap(cell, byte, out)) return;
  const auto left = node.required.begin() + (free ? 0 : cell.count);
  const bool may_close = free || std::find(left, node.required.end(), true) == node.required.end();
  switch (cell.phase) {
    case kFirst:
      if (byte == '}' && may_close) return add(out, cell.parent);
      if (byte == '"') begin_key(cell, out);
      return;
    case kAfter:
      if (byte == '}' && may_close) return add(out, cell.parent);
      if (byte == ',' && (free || cell.count < node.names.size())) {
        cell.phase = kNext;
        add(out, push(cell));
      }
      return;
    case kNext:
      if (byte == '"') begin_key(cell, out);
      return;
    default: {
      const NodeId child =
          node.kind == NodeKind::kAny ? cell.node : node.children[free ? 0 : cell.count];
      cell.phase = kAfter;
      if (!free) ++cell.count;
      return begin_value(child, push(cell), byte, out);
    }
  }
}

void JsonAutomaton::begin_item(Cell cell, uint8_t byte, State& out) {
  const JsonNode& node = grammar_.node(cell.node);
  cell.phase = kAfter;
  ++cell.count;
  begin_value(node.kind == NodeKind::kAny ? cell.node : node.children[0], push(cell), byte, out);
}

void JsonAutomaton::step_array(Cell cell, uint8_t byte, State& out) {
  const JsonNode& node = grammar_.node(cell.node);
  if (step_gap(cell, byte, out)) return;
  if (byte == ']' && cell.phase != kNext && cell.count >= node.least) return add(out, cell.parent);
  if (cell.phase != kAfter) {
    if (cell.count < node.most) begin_item(cell, byte, out);
  } else if (byte == ',' && cell.count < node.most) {
    cell.phase = kNext;
    add(out, push(cell));
  }
}

}  // namespace dak
