#include "server/json_automaton.h"

#include <algorithm>
#include <map>

namespace dak {
namespace {

using NodeKind = JsonNode::Kind;

constexpr size_t kMostStacks = 256;
constexpr int kDeepestExpansion = 128;  // of alternatives within alternatives
constexpr uint8_t kNewLine = 128;       // a gap with a line break
constexpr uint8_t kMostIndent = 32;
constexpr uint32_t kMostCounted = 1U << 31;

// Phases.
enum ContainerPhase : uint8_t { kFirst, kAfter, kNext, kColon, kBeforeValue };

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
    return cell.type == Type::kEnd || (cell.type == Type::kNumber && may_end_number(cell) &&
                                       cells_[cell.parent].type == Type::kEnd);
  });
}

void JsonAutomaton::forget(const Mark& mark) {
  cells_.resize(mark.cells);
  trails_.resize(mark.trails);
  seen_.resize(mark.seen);
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
      return step_text(cell, byte, out);
    case Type::kKey:
      return step_key(cell, byte, out);
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
    case NodeKind::kText: {
      const auto end = static_cast<uint32_t>(node.names.size());
      return step_text({.type = Type::kText, .node = id, .end = end, .parent = parent}, byte, out);
    }
    default:
      break;
  }
  if (byte == '{' && (any || node.kind == NodeKind::kObject)) {
    add(out, push({.type = Type::kObject, .phase = kFirst, .node = id, .parent = parent}));
  } else if (byte == '[' && (any || node.kind == NodeKind::kArray)) {
    add(out, push({.type = Type::kArray, .phase = kFirst, .node = id, .parent = parent}));
  } else if (byte == '"' && (any || node.kind == NodeKind::kString)) {
    Cell cell{.type = Type::kString, .node = any ? kNoNode : id, .parent = parent};
    begin_text(cell);
    add(out, push(cell));
  } else if (any && (byte == 't' || byte == 'f' || byte == 'n')) {
    begin_value(grammar_.words(), parent, byte, out);
  } else if (any || node.kind == NodeKind::kNumber) {
    Cell cell{.type = Type::kNumber, .node = any ? grammar_.number() : id, .parent = parent};
    begin_text(cell);
    step_number(cell, byte, out);
  }
}

// Leaves the names that have `byte` at the cell's place. Names in order of their bytes: those that
// begin alike are neighbours.
bool JsonAutomaton::narrow(Cell& cell, uint8_t byte) const {
  const JsonNode& node = grammar_.node(cell.node);
  const auto at = [&](uint32_t name) -> int {
    const std::string& text = node.names[name];
    return cell.count < text.size() ? static_cast<uint8_t>(text[cell.count]) : -1;
  };
  const auto begin = node.sorted.begin();
  const auto end = begin + cell.end;
  const auto first = std::ranges::lower_bound(begin + cell.name, end, int{byte}, {}, at);
  const auto last = std::ranges::upper_bound(first, end, int{byte}, {}, at);
  cell.name = static_cast<uint32_t>(first - begin);
  cell.end = static_cast<uint32_t>(last - begin);
  ++cell.count;
  return first != last;
}

// Whether a literal may come: an array without repetition holds it once.
bool JsonAutomaton::is_free(const Cell& cell, uint32_t name) const {
  return !is_item(cell) || (cells_[cell.parent].used >> name & 1) == 0;
}

void JsonAutomaton::step_text(Cell cell, uint8_t byte, State& out) {
  if (!narrow(cell, byte)) return;
  const JsonNode& node = grammar_.node(cell.node);
  bool more = false;
  for (uint32_t i = cell.name; i < cell.end; ++i) {
    const uint32_t name = node.sorted[i];
    if (!is_free(cell, name)) continue;
    if (node.names[name].size() > cell.count) {
      more = true;
    } else if (is_item(cell)) {
      Cell array = cells_[cell.parent];
      array.used |= uint64_t{1} << name;
      add(out, push(array));
    } else {
      add(out, cell.parent);
    }
  }
  if (more) add(out, push(cell));
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

// After the opening quote.
void JsonAutomaton::begin_key(const Cell& cell, State& out) {
  const JsonNode& node = grammar_.node(cell.node);
  Cell after = cell;
  after.phase = kColon;
  if (node.kind == NodeKind::kObject && !node.names.empty()) {
    const auto end = static_cast<uint32_t>(node.names.size());
    step_key({.type = Type::kKey, .node = cell.node, .end = end, .parent = push(after)}, '"', out);
  } else if (node.kind == NodeKind::kObject && node.keys >= 0) {
    begin_value(static_cast<NodeId>(node.keys), push(after), '"', out);
  } else {
    add(out, push({.type = Type::kString, .node = kNoNode, .parent = push(after)}));
  }
}

// Whether the property `name` may be the next one of `object`: none that must come is left out,
// and enough are left.
bool JsonAutomaton::may_be_key(const Cell& object, uint32_t name) const {
  const JsonNode& node = grammar_.node(object.node);
  if (name < object.count) return false;
  for (uint32_t i = object.count; i < name; ++i) {
    if (node.required[i]) return false;
  }
  int64_t must = 0;
  for (uint32_t i = name + 1; i < node.names.size(); ++i) must += node.required[i] ? 1 : 0;
  const auto left = static_cast<int64_t>(node.names.size()) - name;
  return object.made + 1 + must <= node.most && object.made + left >= node.least;
}

void JsonAutomaton::step_key(Cell cell, uint8_t byte, State& out) {
  if (!narrow(cell, byte)) return;
  const JsonNode& node = grammar_.node(cell.node);
  bool more = false;
  for (uint32_t i = cell.name; i < cell.end; ++i) {
    const uint32_t name = node.sorted[i];
    Cell object = cells_[cell.parent];
    if (!may_be_key(object, name)) continue;
    if (node.names[name].size() == cell.count) {
      object.count = name;
      add(out, push(object));
    } else {
      more = true;
    }
  }
  if (more) add(out, push(cell));
}

bool JsonAutomaton::may_close(const Cell& object) const {
  const JsonNode& node = grammar_.node(object.node);
  if (node.kind == NodeKind::kAny) return true;
  if (object.made < node.least) return false;
  const auto left = node.required.begin() + (node.names.empty() ? 0 : object.count);
  return std::find(left, node.required.end(), true) == node.required.end();
}

void JsonAutomaton::step_object(Cell cell, uint8_t byte, State& out) {
  const JsonNode& node = grammar_.node(cell.node);
  const bool any = node.kind == NodeKind::kAny;
  const bool free = any || node.names.empty();
  if (cell.phase == kColon) {
    cell.phase = kBeforeValue;
    if (byte == ':') add(out, push(cell));
    return;
  }
  if (step_gap(cell, byte, out)) return;
  const bool room = any || cell.made < node.most;
  switch (cell.phase) {
    case kFirst:
      if (byte == '}' && may_close(cell)) return add(out, cell.parent);
      if (byte == '"' && room) begin_key(cell, out);
      return;
    case kAfter:
      if (byte == '}' && may_close(cell)) return add(out, cell.parent);
      if (byte == ',' && room && (free || cell.count < node.names.size())) {
        cell.phase = kNext;
        add(out, push(cell));
      }
      return;
    case kNext:
      if (byte == '"') begin_key(cell, out);
      return;
    default: {
      const NodeId child = any ? cell.node : node.children[free ? 0 : cell.count];
      cell.phase = kAfter;
      if (!free) ++cell.count;
      if (!any) cell.made = std::min(cell.made + 1, kMostCounted);
      return begin_value(child, push(cell), byte, out);
    }
  }
}

void JsonAutomaton::begin_item(Cell cell, uint8_t byte, State& out) {
  const JsonNode& node = grammar_.node(cell.node);
  const bool any = node.kind == NodeKind::kAny;
  const size_t place = any ? 0 : std::min<size_t>(cell.count, node.children.size() - 1);
  cell.phase = kAfter;
  cell.count = std::min(cell.count + 1, kMostCounted);
  begin_value(any ? cell.node : node.children[place], push(cell), byte, out);
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
