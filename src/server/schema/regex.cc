#include "server/schema/regex.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "server/schema/regex_tree.h"

namespace dak {
namespace {

using Kind = RegexTree::Kind;

constexpr size_t kMostNfaStates = 10'000;
constexpr uint64_t kMostWork = 10'000'000;  // states of the NFA that are looked at

[[noreturn]] void too_large() { throw RegexError("is too large to follow"); }

// States joined by sets of code points and by steps that take none, some of which may be taken at
// the begin or the end of the text alone.
struct Nfa {
  enum class Step : uint8_t { kAlways, kAtBegin, kAtEnd };
  struct State {
    CodeSet set;                                     // leads to the next state by number
    std::vector<std::pair<Step, uint32_t>> without;  // a code point
  };
  std::vector<State> states;

  uint32_t add() {
    if (states.size() >= kMostNfaStates) too_large();
    states.emplace_back();
    return static_cast<uint32_t>(states.size() - 1);
  }
  void step(uint32_t from, uint32_t to, Step step = Step::kAlways) {
    states[from].without.emplace_back(step, to);
  }

  // Adds `tree` after state `from`; returns where it ends.
  uint32_t append(const RegexTree& tree, uint32_t from) {
    switch (tree.kind) {
      case Kind::kSet: {
        // The state before a code point must be the one before it by number too.
        const uint32_t before = add();
        step(from, before);
        states[before].set = tree.set;
        return add();
      }
      case Kind::kSequence:
        for (const RegexTree& child : tree.children) from = append(child, from);
        return from;
      case Kind::kEither: {
        const uint32_t end = add();
        for (const RegexTree& child : tree.children) {
          const uint32_t begin = add();
          step(from, begin);
          step(append(child, begin), end);
        }
        return end;
      }
      case Kind::kRepeat:
        return repeat(tree, from);
      case Kind::kBegin:
      case Kind::kEnd: {
        const uint32_t end = add();
        step(from, end, tree.kind == Kind::kBegin ? Step::kAtBegin : Step::kAtEnd);
        return end;
      }
      case Kind::kAhead:
      case Kind::kNotAhead:
        break;
    }
    throw RegexError(
        "looks ahead elsewhere than after the '^' that it begins with, which dak does not "
        "support");
  }

  uint32_t repeat(const RegexTree& tree, uint32_t from) {
    const RegexTree& child = tree.children[0];
    for (int i = 0; i < tree.least; ++i) from = append(child, from);
    const uint32_t end = add();
    if (tree.most < 0) {
      const uint32_t loop = add();
      step(from, loop);
      step(append(child, loop), loop);
      step(loop, end);
      return end;
    }
    for (int i = tree.least; i < tree.most; ++i) {
      step(from, end);
      from = append(child, from);
    }
    step(from, end);
    return end;
  }
};

// Makes states of a DFA out of sets of those of an NFA.
class Subsets {
  using Set = std::vector<uint32_t>;

 public:
  // `found`: where the pattern has ended and any text may follow, up to `last`.
  Subsets(const Nfa& nfa, uint32_t found, uint32_t last)
      : nfa_(nfa), last_(last), seen_(nfa.states.size()) {
    found_ = closure({found}, Nfa::Step::kAlways);
  }

  TextDfa dfa(uint32_t start) {
    id_of(closure({start}, Nfa::Step::kAtBegin));
    for (size_t i = 0; i < sets_.size(); ++i) {
      if (sets_.size() > kMostRegexStates) too_large();
      dfa_.states.push_back(state_of(Set(sets_[i])));
    }
    // A text may be empty: its begin is its end.
    const auto empty = closure(closure({start}, Nfa::Step::kAtBegin), Nfa::Step::kAtEnd, true);
    dfa_.states[0].accepts = std::ranges::binary_search(empty, last_);
    return pruned(dfa_);
  }

 private:
  Set closure(Set from, Nfa::Step place, bool begins = false) {
    seen_.assign(seen_.size(), false);
    for (const uint32_t id : from) seen_[id] = true;
    for (size_t i = 0; i < from.size(); ++i) {
      if (++work_ > kMostWork) too_large();
      for (const auto& [step, to] : nfa_.states[from[i]].without) {
        const bool may =
            step == Nfa::Step::kAlways || step == place || (begins && step == Nfa::Step::kAtBegin);
        if (!may || seen_[to]) continue;
        seen_[to] = true;
        from.push_back(to);
      }
    }
    std::ranges::sort(from);
    return from;
  }

  uint32_t id_of(Set set) {
    if (set.empty()) return TextDfa::kDead;
    // Other ways to find it make no difference any more.
    if (std::ranges::binary_search(set, last_)) set = found_;
    const auto [at, is_new] = known_.try_emplace(set, static_cast<uint32_t>(sets_.size()));
    if (is_new) sets_.push_back(std::move(set));
    return at->second;
  }

  TextDfa::State state_of(const Set& set) {
    TextDfa::State out;
    const Set ends = closure(set, Nfa::Step::kAtEnd);
    out.accepts = std::ranges::binary_search(ends, last_);
    std::vector<uint32_t> cuts{0, kLastCodePoint + 1};
    for (const uint32_t id : set) {
      for (const CodeRange& range : nfa_.states[id].set) {
        cuts.push_back(range.first);
        cuts.push_back(range.last + 1);
      }
    }
    std::ranges::sort(cuts);
    cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
    for (size_t i = 0; i + 1 < cuts.size(); ++i) {
      Set after;
      for (const uint32_t id : set) {
        if (++work_ > kMostWork) too_large();
        const auto holds = [&](const CodeRange& range) {
          return range.first <= cuts[i] && cuts[i] <= range.last;
        };
        if (std::ranges::any_of(nfa_.states[id].set, holds)) after.push_back(id + 1);
      }
      TextDfa::add_edge(out, cuts[i], cuts[i + 1] - 1,
                        id_of(closure(std::move(after), Nfa::Step::kAlways)));
    }
    return out;
  }

  const Nfa& nfa_;
  uint32_t last_;
  std::vector<bool> seen_;
  Set found_;
  std::map<Set, uint32_t> known_;
  std::vector<Set> sets_;
  TextDfa dfa_;
  uint64_t work_ = 0;
};

TextDfa found_in(const RegexTree& tree) {
  const RegexTree anything{.kind = Kind::kSet, .set = outside({})};
  RegexTree before{.kind = Kind::kRepeat, .least = 0, .most = -1};
  before.children.push_back(anything);
  Nfa nfa;
  const uint32_t start = nfa.add();
  const uint32_t found = nfa.append(tree, nfa.append(before, start));
  const uint32_t last = nfa.append(before, found);
  return Subsets(nfa, found, last).dfa(start);
}

}  // namespace

TextDfa regex_dfa(std::string_view pattern, bool widest) {
  RegexTree tree = parse_regex(pattern, widest);
  std::vector<RegexTree> ahead;
  if (tree.kind == Kind::kSequence) {
    // ^(?!a)(?=b)c: what is ahead holds from the begin of the text on.
    auto& children = tree.children;
    while (children.size() > 1 && children[0].kind == Kind::kBegin &&
           (children[1].kind == Kind::kAhead || children[1].kind == Kind::kNotAhead)) {
      RegexTree one{.kind = Kind::kSequence};
      one.children = {RegexTree{.kind = Kind::kBegin}, children[1].children[0]};
      const bool wanted = children[1].kind == Kind::kAhead;
      children.erase(children.begin() + 1);
      ahead.push_back({.kind = wanted ? Kind::kAhead : Kind::kNotAhead, .children = {one}});
    }
  }
  TextDfa dfa = found_in(tree);
  for (const RegexTree& one : ahead) {
    const TextDfa found = found_in(one.children[0]);
    auto held = both(dfa, one.kind == Kind::kAhead ? found : none_of(found), kMostRegexStates);
    if (!held) too_large();
    dfa = std::move(*held);
  }
  return dfa;
}

}  // namespace dak
