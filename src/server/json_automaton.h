// Follows a JsonGrammar byte by byte. A state is a set of stacks, one for each way in which the
// bytes so far can be read; stacks share their lower cells.
#pragma once

#include <cstdint>
#include <vector>

#include "server/json_schema.h"

namespace dak {

class JsonAutomaton {
 public:
  // Cells on top of the stacks, by index.
  using State = std::vector<uint32_t>;

  explicit JsonAutomaton(const JsonGrammar& grammar);  // outlives this

  State start() const { return {start_}; }
  // What `state` is after `byte`; empty: the byte cannot come. Throws kInvalidArgument where there
  // are too many ways to read the text.
  State after(const State& state, uint8_t byte);
  bool may_end(const State& state) const;
  // Whether a stack is inside a string, where any character but a quote, a backslash or a control
  // character leads to the same stack.
  bool in_string(uint32_t top) const;

  // Cells only ever grow in number; those made since `mark` are forgotten.
  size_t mark() const { return cells_.size(); }
  void forget(size_t mark) { cells_.resize(mark); }
  // Forgets all cells but those of `state`, which is renumbered.
  void compact(State& state);

 private:
  enum class Type : uint8_t { kEnd, kValue, kString, kNumber, kText, kObject, kArray, kSequence };
  struct Cell {
    Type type = Type::kEnd;
    uint8_t phase = 0;
    uint8_t gap = 0;  // white space so far
    NodeId node = 0;
    uint32_t name = 0;    // kText: which literal
    uint32_t count = 0;   // bytes, items, properties or parts behind
    uint32_t parent = 0;  // cell that goes on after this one
    bool operator==(const Cell&) const = default;
  };

  uint32_t push(const Cell& cell);
  void add(State& out, uint32_t top) const;
  void step(uint32_t top, uint8_t byte, State& out);
  void begin_value(NodeId node, uint32_t parent, uint8_t byte, State& out);
  void begin_text(NodeId node, uint32_t name, uint32_t parent, uint8_t byte, State& out);
  void step_string(Cell cell, uint8_t byte, State& out);
  void step_number(Cell cell, uint8_t byte, State& out);
  void step_object(Cell cell, uint8_t byte, State& out);
  void begin_key(const Cell& cell, State& out);
  void step_array(Cell cell, uint8_t byte, State& out);
  void begin_item(Cell cell, uint8_t byte, State& out);
  bool step_gap(Cell& cell, uint8_t byte, State& out);
  uint32_t next_part(Cell cell);

  const JsonGrammar& grammar_;
  std::vector<Cell> cells_;
  uint32_t start_;
  int depth_ = 0;
};

}  // namespace dak
