// Deterministic automata over code points, and rules for texts made of them: what a string or a
// number in an answer may be.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace dak {

inline constexpr uint32_t kLastCodePoint = 0x10FFFF;

struct TextDfa {
  static constexpr uint32_t kDead = UINT32_MAX;
  // Code points after the edge's before, up to `last`, lead to `target`.
  struct Edge {
    uint32_t last = kLastCodePoint;
    uint32_t target = kDead;
    bool operator==(const Edge&) const = default;
  };
  struct State {
    std::vector<Edge> edges;  // in order; the last one ends at kLastCodePoint
    bool accepts = false;
  };
  std::vector<State> states;  // the first one is the start; none: nothing is accepted

  uint32_t next(uint32_t state, uint32_t code_point) const;

  static TextDfa anything();
  // Edges of one state out of ranges [first, last] in order that do not overlap.
  static void add_edge(State& state, uint32_t first, uint32_t last, uint32_t target);
};

// Texts that both accept; nullopt where that needs more than `most_states` states.
std::optional<TextDfa> both(const TextDfa& a, const TextDfa& b, size_t most_states);
// Texts that `dfa` does not accept.
TextDfa none_of(const TextDfa& dfa);
// Without the states from which no text is accepted: edges to them are dead.
TextDfa pruned(const TextDfa& dfa);

// A text that a DFA accepts, of `least` to `most` code points.
class TextRule {
 public:
  static constexpr uint32_t kNoLimit = UINT32_MAX;
  static constexpr uint8_t kMany = 255;
  // Most entries of the table that lengths beside a pattern need: states times lengths.
  static constexpr uint64_t kMostEntries = 4'000'000;

  // nullopt where lengths and pattern together need too large a table.
  static std::optional<TextRule> make(const TextDfa& dfa, uint32_t least, uint32_t most);

  // Where a text is: the DFA's state, and code points so far up to `counted()`.
  struct Place {
    uint32_t state = 0;
    uint32_t count = 0;
    bool operator==(const Place&) const = default;
  };
  const TextDfa& dfa() const { return dfa_; }
  uint32_t least() const { return least_; }
  uint32_t most() const { return most_; }
  bool empty() const { return dfa_.states.empty(); }
  bool may_end(Place place) const {
    return place.count >= least_ && dfa_.states[place.state].accepts;
  }
  // nullopt where no text that goes on so is accepted.
  std::optional<Place> next(Place place, uint32_t code_point) const;
  // Whether some code point of [first, last] may come.
  bool any_between(Place place, uint32_t first, uint32_t last) const;
  // How many texts go on from here, this one included if it may end; kMany: so many or more.
  uint8_t endings(Place place) const;
  // Lengths above make no difference.
  uint32_t counted() const { return most_ == kNoLimit ? least_ : most_; }
  // Whether what may come within `ahead` code points depends on the state alone.
  bool far_from_limits(Place place, uint32_t ahead) const;
  bool accepts(std::string_view utf8) const;

 private:
  bool alive(uint32_t state, uint32_t count) const;
  void count_endings();

  TextDfa dfa_;
  uint32_t least_ = 0;
  uint32_t most_ = kNoLimit;
  bool free_ = false;               // any code point may come: lengths alone matter
  std::vector<uint8_t> unlimited_;  // [states]: endings where lengths do not matter
  std::vector<uint8_t> endings_;    // [counted() + 1, states] where they do, unless `free_`
};

// Code points of valid UTF-8; nullopt if it is not.
std::optional<std::vector<uint32_t>> code_points(std::string_view utf8);

}  // namespace dak
