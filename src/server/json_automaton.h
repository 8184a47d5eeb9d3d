// Follows a JsonGrammar byte by byte. A state is a set of stacks, one for each way in which the
// bytes so far can be read; stacks share their lower cells.
#pragma once

#include <cstdint>
#include <optional>
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
  // A string that a rule holds for, between two characters or inside one of several bytes; nullopt
  // if `top` is no such place. All bytes but quotes, backslashes and control characters are told by
  // `after`.
  struct RuledPlace {
    const TextRule* rule = nullptr;
    TextRule::Place place;
    uint32_t partial = 0;  // bits of a character so far
    uint8_t more = 0;      // bytes that it still lacks
    // False where no string goes on so.
    bool step(uint8_t byte);
  };
  std::optional<RuledPlace> ruled_place(uint32_t top) const;

  // Cells only ever grow in number; those made since `mark` are forgotten.
  struct Mark {
    size_t cells = 0;
    size_t trails = 0;
    size_t seen = 0;
  };
  Mark mark() const { return {cells_.size(), trails_.size(), seen_.size()}; }
  void forget(const Mark& mark);
  // Forgets all cells but those of `state`, which is renumbered.
  void compact(State& state);

 private:
  enum class Type : uint8_t {
    kEnd,
    kValue,
    kString,
    kNumber,
    kText,
    kKey,  // of an object that names its keys; the object is the parent
    kObject,
    kArray,
    kSequence
  };
  struct Cell {
    Type type = Type::kEnd;
    uint8_t phase = 0;
    uint8_t gap = 0;   // white space so far
    uint8_t more = 0;  // kString: bytes that a character still lacks
    NodeId node = 0;
    uint32_t name = 0;     // kText, kKey: first of the names that begin so; a DFA's state
    uint32_t end = 0;      // kText, kKey: behind the last of them
    uint32_t count = 0;    // bytes, characters, items, properties or parts behind
    uint32_t made = 0;     // kObject: properties so far; in `trail`: characters
    uint32_t partial = 0;  // kString: bits of a character or an escape so far
    uint32_t trail = 0;    // an item of an array without repetition: its characters
    // kArray: literals taken; a string or number in an array without repetition: the items that
    // begin as it does so far.
    uint64_t used = 0;
    uint32_t seen = 0;    // kArray: its items so far
    uint32_t parent = 0;  // cell that goes on after this one
    bool operator==(const Cell&) const = default;
  };
  // Texts of items as lists from the last one back, 0: the end.
  struct Trail {
    uint32_t before = 0;
    uint32_t code_point = 0;
  };
  struct Seen {
    uint32_t before = 0;
    std::vector<uint32_t> text;
  };

  uint32_t push(const Cell& cell);
  void add(State& out, uint32_t top) const;
  void step(uint32_t top, uint8_t byte, State& out);
  void begin_value(NodeId node, uint32_t parent, uint8_t byte, State& out);
  void step_text(Cell cell, uint8_t byte, State& out);
  bool is_free(const Cell& cell, uint32_t name) const;
  void step_key(Cell cell, uint8_t byte, State& out);
  bool may_be_key(const Cell& object, uint32_t name) const;
  bool narrow(Cell& cell, uint8_t byte) const;
  void step_string(Cell cell, uint8_t byte, State& out);
  void step_escape(Cell cell, uint8_t byte, State& out);
  void step_surrogate(Cell cell, uint8_t byte, State& out);
  bool could_be(const Cell& cell, uint32_t first, uint32_t last) const;
  bool take(Cell& cell, uint32_t code_point);
  const TextRule* rule_of(const Cell& cell) const;
  bool is_item(const Cell& cell) const;  // of an array without repetition
  void begin_text(Cell& cell) const;
  bool is_new_item(const Cell& cell) const;
  uint32_t after_item(const Cell& cell);
  void step_number(Cell cell, uint8_t byte, State& out);
  bool may_end_number(const Cell& cell) const;
  void step_object(Cell cell, uint8_t byte, State& out);
  bool may_close(const Cell& object) const;
  void begin_key(const Cell& cell, State& out);
  void step_array(Cell cell, uint8_t byte, State& out);
  void begin_item(Cell cell, uint8_t byte, State& out);
  bool step_gap(Cell& cell, uint8_t byte, State& out);
  uint32_t next_part(Cell cell);

  static constexpr NodeId kNoNode = UINT32_MAX;  // of a string without a rule

  const JsonGrammar& grammar_;
  std::vector<Cell> cells_;
  std::vector<Trail> trails_{1};
  std::vector<Seen> seen_{1};
  uint32_t start_;
  int depth_ = 0;
};

}  // namespace dak
