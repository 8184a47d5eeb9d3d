#include "server/json_constraint.h"

#include <algorithm>

#include "base/error.h"

namespace dak {
namespace {

constexpr size_t kMostCells = 4096;  // before those in use are gathered
constexpr size_t kMostPlaces = 32;   // whose bits are kept

void set_bit(std::span<uint64_t> bits, TokenId token) {
  const auto index = static_cast<size_t>(token);
  if (index / 64 < bits.size()) bits[index / 64] |= uint64_t{1} << (index % 64);
}

bool stays_inside(std::string_view bytes) {
  return std::ranges::all_of(
      bytes, [](char c) { return static_cast<uint8_t>(c) >= 0x20 && c != '"' && c != '\\'; });
}

void note_shared(std::vector<TokenTexts::Token>& tokens) {
  std::ranges::sort(tokens, {}, [](const TokenTexts::Token& token) { return token.bytes; });
  for (size_t i = 1; i < tokens.size(); ++i) {
    const std::string_view before = tokens[i - 1].bytes;
    const std::string_view bytes = tokens[i].bytes;
    tokens[i].shared =
        static_cast<size_t>(std::ranges::mismatch(before, bytes).in1 - before.begin());
  }
}

}  // namespace

TokenTexts::TokenTexts(const std::vector<std::string>& texts, const std::vector<bool>& special,
                       std::vector<TokenId> ends)
    : texts_(texts), inside_((texts.size() + 63) / 64), ends_(std::move(ends)) {
  for (size_t id = 0; id < texts_.size(); ++id) {
    if (special[id]) texts_[id].clear();
    if (texts_[id].empty()) continue;
    const Token token{.id = static_cast<TokenId>(id), .bytes = texts_[id]};
    all_.push_back(token);
    if (stays_inside(token.bytes)) {
      set_bit(inside_, token.id);
      insiders_.push_back(token);
      longest_inside_ = std::max(longest_inside_, token.bytes.size());
    } else {
      enders_.push_back(token);
    }
  }
  note_shared(all_);
  note_shared(enders_);
  note_shared(insiders_);
}

std::string_view TokenTexts::bytes(TokenId token) const {
  const auto index = static_cast<size_t>(token);
  return index < texts_.size() ? std::string_view(texts_[index]) : std::string_view();
}

JsonConstraint::JsonConstraint(std::shared_ptr<const JsonGrammar> grammar, const TokenTexts& texts)
    : grammar_(std::move(grammar)),
      texts_(texts),
      automaton_(*grammar_),
      state_(automaton_.start()) {}

void JsonConstraint::allow(std::span<uint64_t> bits) {
  JsonAutomaton::State inside, outside;
  for (const uint32_t top : state_) {
    const auto place = automaton_.ruled_place(top);
    if (place) {
      allow_inside(*place, bits);
      allow_from({top}, texts_.string_enders(), bits);
    } else {
      (automaton_.in_string(top) ? inside : outside).push_back(top);
    }
  }
  if (!inside.empty()) {
    for (size_t i = 0; i < std::min(bits.size(), texts_.inside_strings().size()); ++i) {
      bits[i] |= texts_.inside_strings()[i];
    }
    allow_from(inside, texts_.string_enders(), bits);
  }
  if (!outside.empty()) allow_from(outside, texts_.all(), bits);
  if (!automaton_.may_end(state_)) return;
  for (const TokenId end : texts_.ends()) set_bit(bits, end);
}

void JsonConstraint::allow_from(const JsonAutomaton::State& state,
                                const std::vector<TokenTexts::Token>& tokens,
                                std::span<uint64_t> bits) {
  struct Level {
    JsonAutomaton::State state;
    JsonAutomaton::Mark mark;  // what there was before this level
  };
  const JsonAutomaton::Mark begin = automaton_.mark();
  std::vector<Level> levels{{state, begin}};  // after so many bytes of the token
  size_t dead = SIZE_MAX;                     // tokens that share more bytes than this cannot come
  for (const TokenTexts::Token& token : tokens) {
    if (token.shared > dead) continue;
    dead = SIZE_MAX;
    if (levels.size() > token.shared + 1) {
      automaton_.forget(levels[token.shared + 1].mark);
      levels.resize(token.shared + 1);
    }
    for (size_t at = levels.size() - 1; at < token.bytes.size(); ++at) {
      const JsonAutomaton::Mark mark = automaton_.mark();
      JsonAutomaton::State next =
          automaton_.after(levels.back().state, static_cast<uint8_t>(token.bytes[at]));
      if (next.empty()) {
        automaton_.forget(mark);
        dead = at;
        break;
      }
      levels.push_back({std::move(next), mark});
    }
    if (dead == SIZE_MAX) set_bit(bits, token.id);
  }
  automaton_.forget(begin);
}

void JsonConstraint::allow_inside(const JsonAutomaton::RuledPlace& place,
                                  std::span<uint64_t> bits) {
  const auto longest = static_cast<uint32_t>(texts_.longest_inside());
  const bool far = place.rule->far_from_limits(place.place, longest);
  const PlaceKey key{place.rule, place.place.state, far ? UINT32_MAX : place.place.count,
                     place.partial, place.more};
  if (inside_.size() >= kMostPlaces && !inside_.contains(key)) inside_.clear();
  const auto [at, is_new] = inside_.try_emplace(key);
  std::vector<uint64_t>& mask = at->second;
  if (is_new) {
    mask.resize(bits.size());
    std::vector<JsonAutomaton::RuledPlace> levels{place};  // after so many bytes of the token
    size_t dead = SIZE_MAX;  // tokens that share more bytes than this cannot come
    for (const TokenTexts::Token& token : texts_.string_insiders()) {
      if (token.shared > dead) continue;
      dead = SIZE_MAX;
      if (levels.size() > token.shared + 1) levels.resize(token.shared + 1);
      for (size_t byte = levels.size() - 1; byte < token.bytes.size(); ++byte) {
        JsonAutomaton::RuledPlace next = levels.back();
        if (!next.step(static_cast<uint8_t>(token.bytes[byte]))) {
          dead = byte;
          break;
        }
        levels.push_back(next);
      }
      if (dead == SIZE_MAX) set_bit(mask, token.id);
    }
  }
  for (size_t i = 0; i < std::min(bits.size(), mask.size()); ++i) bits[i] |= mask[i];
}

void JsonConstraint::accept(TokenId token) {
  if (std::ranges::find(texts_.ends(), token) != texts_.ends().end()) return;
  for (const char byte : texts_.bytes(token)) {
    state_ = automaton_.after(state_, static_cast<uint8_t>(byte));
  }
  require(!state_.empty(), "a token was drawn that the grammar does not allow");
  if (automaton_.mark().cells > kMostCells) automaton_.compact(state_);
}

}  // namespace dak
