// Holds a request's answer to a grammar: which tokens may come next, by following each token's
// bytes.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "scheduler/scheduler.h"
#include "server/json_automaton.h"

namespace dak {

// A model's tokens as they are searched: in order of their bytes, so that what begins alike is
// followed once.
class TokenTexts {
 public:
  // `texts`: bytes by id. `ends`: ids that end an answer. Special tokens are in neither: they are
  // not text.
  TokenTexts(const std::vector<std::string>& texts, const std::vector<bool>& special,
             std::vector<TokenId> ends);
  TokenTexts(const TokenTexts&) = delete;
  TokenTexts& operator=(const TokenTexts&) = delete;

  struct Token {
    TokenId id = -1;
    std::string_view bytes;
    size_t shared = 0;  // bytes that it has in common with the one before
  };
  const std::vector<Token>& all() const { return all_; }
  // Those that do not leave a string where it is.
  const std::vector<Token>& string_enders() const { return enders_; }
  // The others, of at most `longest_inside()` bytes, and their bits: any of them may come inside a
  // string.
  const std::vector<Token>& string_insiders() const { return insiders_; }
  size_t longest_inside() const { return longest_inside_; }
  const std::vector<uint64_t>& inside_strings() const { return inside_; }
  const std::vector<TokenId>& ends() const { return ends_; }
  std::string_view bytes(TokenId token) const;

 private:
  std::vector<std::string> texts_;
  std::vector<Token> all_;
  std::vector<Token> enders_;
  std::vector<Token> insiders_;
  size_t longest_inside_ = 0;
  std::vector<uint64_t> inside_;
  std::vector<TokenId> ends_;
};

class JsonConstraint final : public TokenConstraint {
 public:
  // `texts` outlives this.
  JsonConstraint(std::shared_ptr<const JsonGrammar> grammar, const TokenTexts& texts);

  void allow(std::span<uint64_t> bits) override;
  void accept(TokenId token) override;

 private:
  void allow_from(const JsonAutomaton::State& state, const std::vector<TokenTexts::Token>& tokens,
                  std::span<uint64_t> bits);
  // Tokens that stay inside a string that a rule holds for.
  void allow_inside(const JsonAutomaton::RuledPlace& place, std::span<uint64_t> bits);

  std::shared_ptr<const JsonGrammar> grammar_;
  const TokenTexts& texts_;
  JsonAutomaton automaton_;
  JsonAutomaton::State state_;
  // Bits of the places that `allow_inside` has been to last; where lengths are far away, their
  // count is left out.
  using PlaceKey = std::tuple<const TextRule*, uint32_t, uint32_t, uint32_t, uint8_t>;
  std::map<PlaceKey, std::vector<uint64_t>> inside_;
};

}  // namespace dak
