#include "server/schema/text_dfa.h"

#include <algorithm>
#include <map>

#include "text/utf8.h"

namespace dak {
namespace {

uint8_t sum(uint8_t a, uint8_t b) {
  return static_cast<uint8_t>(std::min<int>(TextRule::kMany, a + b));
}

// `each` of so many code points: endings times their number.
uint8_t times(uint8_t endings, uint64_t number) {
  return static_cast<uint8_t>(std::min<uint64_t>(TextRule::kMany, endings * number));
}

}  // namespace

uint32_t TextDfa::next(uint32_t state, uint32_t code_point) const {
  for (const Edge& edge : states[state].edges) {
    if (code_point <= edge.last) return edge.target;
  }
  return kDead;
}

void TextDfa::add_edge(State& state, uint32_t first, uint32_t last, uint32_t target) {
  const uint32_t begin = state.edges.empty() ? 0 : state.edges.back().last + 1;
  if (first > begin) state.edges.push_back({first - 1, kDead});
  if (!state.edges.empty() && state.edges.back().target == target) {
    state.edges.back().last = last;
  } else {
    state.edges.push_back({last, target});
  }
}

TextDfa TextDfa::anything() {
  TextDfa dfa;
  dfa.states.push_back({.edges = {{kLastCodePoint, 0}}, .accepts = true});
  return dfa;
}

std::optional<TextDfa> both(const TextDfa& a, const TextDfa& b, size_t most_states) {
  TextDfa out;
  if (a.states.empty() || b.states.empty()) return out;
  std::map<std::pair<uint32_t, uint32_t>, uint32_t> known;
  std::vector<std::pair<uint32_t, uint32_t>> pairs;
  const auto id_of = [&](uint32_t in_a, uint32_t in_b) {
    if (in_a == TextDfa::kDead || in_b == TextDfa::kDead) return TextDfa::kDead;
    const auto [at, is_new] = known.try_emplace({in_a, in_b}, static_cast<uint32_t>(pairs.size()));
    if (is_new) pairs.emplace_back(in_a, in_b);
    return at->second;
  };
  id_of(0, 0);
  for (size_t i = 0; i < pairs.size(); ++i) {
    if (pairs.size() > most_states) return std::nullopt;
    const TextDfa::State& in_a = a.states[pairs[i].first];
    const TextDfa::State& in_b = b.states[pairs[i].second];
    TextDfa::State state{.edges = {}, .accepts = in_a.accepts && in_b.accepts};
    size_t x = 0, y = 0;
    for (uint32_t first = 0; first <= kLastCodePoint;) {
      const uint32_t last = std::min(in_a.edges[x].last, in_b.edges[y].last);
      TextDfa::add_edge(state, first, last, id_of(in_a.edges[x].target, in_b.edges[y].target));
      if (in_a.edges[x].last == last) ++x;
      if (in_b.edges[y].last == last) ++y;
      first = last + 1;
    }
    out.states.push_back(std::move(state));
  }
  return pruned(out);
}

TextDfa none_of(const TextDfa& dfa) {
  TextDfa out = dfa;
  // What was dead is where everything is accepted.
  const auto rest = static_cast<uint32_t>(out.states.size());
  for (TextDfa::State& state : out.states) {
    state.accepts = !state.accepts;
    for (TextDfa::Edge& edge : state.edges) {
      if (edge.target == TextDfa::kDead) edge.target = rest;
    }
  }
  out.states.push_back({.edges = {{kLastCodePoint, rest}}, .accepts = true});
  return pruned(out);
}

TextDfa pruned(const TextDfa& dfa) {
  const size_t size = dfa.states.size();
  std::vector<std::vector<uint32_t>> before(size);
  std::vector<uint32_t> found;
  std::vector<bool> alive(size);
  const auto note = [&](uint32_t state) {
    if (!alive[state]) found.push_back(state);
    alive[state] = true;
  };
  for (uint32_t i = 0; i < size; ++i) {
    for (const TextDfa::Edge& edge : dfa.states[i].edges) {
      if (edge.target != TextDfa::kDead) before[edge.target].push_back(i);
    }
    if (dfa.states[i].accepts) note(i);
  }
  for (size_t i = 0; i < found.size(); ++i) {
    for (const uint32_t from : before[found[i]]) note(from);
  }
  TextDfa out;
  if (size == 0 || !alive[0]) return out;
  std::vector<uint32_t> moved(size, TextDfa::kDead);
  std::vector<uint32_t> kept{0};
  moved[0] = 0;
  for (size_t i = 0; i < kept.size(); ++i) {
    const TextDfa::State& from = dfa.states[kept[i]];
    TextDfa::State state{.edges = {}, .accepts = from.accepts};
    uint32_t first = 0;
    for (const TextDfa::Edge& edge : from.edges) {
      uint32_t target = TextDfa::kDead;
      if (edge.target != TextDfa::kDead && alive[edge.target]) {
        if (moved[edge.target] == TextDfa::kDead) {
          moved[edge.target] = static_cast<uint32_t>(kept.size());
          kept.push_back(edge.target);
        }
        target = moved[edge.target];
      }
      TextDfa::add_edge(state, first, edge.last, target);
      first = edge.last + 1;
    }
    out.states.push_back(std::move(state));
  }
  return out;
}

std::optional<TextRule> TextRule::make(const TextDfa& dfa, uint32_t least, uint32_t most) {
  TextRule rule;
  rule.dfa_ = dfa;
  rule.least_ = least;
  rule.most_ = most;
  if (least > most) rule.dfa_.states.clear();
  if (rule.empty()) return rule;
  rule.free_ = rule.dfa_.states.size() == 1 && rule.dfa_.states[0].accepts &&
               rule.dfa_.states[0].edges == std::vector<TextDfa::Edge>{{kLastCodePoint, 0}};
  if (!rule.free_) {
    if ((rule.counted() + uint64_t{1}) * rule.dfa_.states.size() > kMostEntries) return {};
    rule.count_endings();
  }
  if (!rule.alive(0, 0)) rule.dfa_.states.clear();
  return rule;
}

void TextRule::count_endings() {
  const size_t size = dfa_.states.size();
  const auto through = [&](uint32_t state, const uint8_t* after) {
    uint8_t total = 0;
    uint32_t first = 0;
    for (const TextDfa::Edge& edge : dfa_.states[state].edges) {
      if (edge.target != TextDfa::kDead) {
        total = sum(total, times(after[edge.target], edge.last - first + uint64_t{1}));
      }
      first = edge.last + 1;
    }
    return total;
  };
  // Without lengths: longer texts are counted until nothing changes; a loop ends at kMany.
  unlimited_.assign(size, 0);
  for (bool changed = true; changed;) {
    changed = false;
    for (auto state = static_cast<uint32_t>(size); state-- > 0;) {
      const uint8_t now = sum(dfa_.states[state].accepts, through(state, unlimited_.data()));
      changed = changed || now != unlimited_[state];
      unlimited_[state] = now;
    }
  }
  const uint32_t counted = this->counted();
  if (counted == 0 && most_ == kNoLimit) return;
  endings_.assign((counted + size_t{1}) * size, 0);
  for (uint32_t count = counted + 1; count-- > 0;) {
    uint8_t* const row = endings_.data() + count * size;
    for (uint32_t state = 0; state < size; ++state) {
      if (count == counted && most_ == kNoLimit) {
        row[state] = unlimited_[state];
        continue;
      }
      row[state] = count >= least_ && dfa_.states[state].accepts;
      if (count < counted) row[state] = sum(row[state], through(state, row + size));
    }
  }
}

uint8_t TextRule::endings(Place place) const {
  if (free_) return place.count < most_ ? kMany : 1;
  if (endings_.empty()) return unlimited_[place.state];
  return endings_[place.count * dfa_.states.size() + place.state];
}

bool TextRule::alive(uint32_t state, uint32_t count) const { return endings({state, count}) > 0; }

std::optional<TextRule::Place> TextRule::next(Place place, uint32_t code_point) const {
  if (place.count == most_) return {};
  const uint32_t state = dfa_.next(place.state, code_point);
  const uint32_t count = std::min(place.count + 1, counted());
  if (state == TextDfa::kDead || !alive(state, count)) return {};
  return Place{state, count};
}

bool TextRule::any_between(Place place, uint32_t first, uint32_t last) const {
  if (place.count == most_) return false;
  const uint32_t count = std::min(place.count + 1, counted());
  uint32_t begin = 0;
  for (const TextDfa::Edge& edge : dfa_.states[place.state].edges) {
    const bool overlaps = begin <= last && edge.last >= first;
    if (overlaps && edge.target != TextDfa::kDead && alive(edge.target, count)) return true;
    begin = edge.last + 1;
  }
  return false;
}

bool TextRule::far_from_limits(Place place, uint32_t ahead) const {
  if (free_) return most_ == kNoLimit || (place.count < most_ && most_ - place.count >= ahead);
  return endings_.empty() || (most_ == kNoLimit && place.count == least_);
}

bool TextRule::accepts(std::string_view utf8) const {
  const auto text = code_points(utf8);
  if (!text || empty()) return false;
  Place place;
  for (const uint32_t code_point : *text) {
    const auto after = next(place, code_point);
    if (!after) return false;
    place = *after;
  }
  return may_end(place);
}

std::optional<std::vector<uint32_t>> code_points(std::string_view utf8) {
  if (!is_valid_utf8(utf8)) return {};
  std::vector<uint32_t> out;
  for (size_t at = 0; at < utf8.size();) {
    const Utf8Char one = utf8_char_at(utf8, at);
    out.push_back(one.code);
    at += one.length_bytes;
  }
  return out;
}

}  // namespace dak
