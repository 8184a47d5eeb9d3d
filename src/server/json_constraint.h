// Holds a request's answer to a grammar: which tokens may come next, by following each token's
// bytes.
#pragma once

#include <memory>
#include <optional>
#include <string>
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
  // Bits of the others: any of them may come inside a string.
  const std::vector<uint64_t>& inside_strings() const { return inside_; }
  const std::vector<TokenId>& ends() const { return ends_; }
  std::string_view bytes(TokenId token) const;

 private:
  std::vector<std::string> texts_;
  std::vector<Token> all_;
  std::vector<Token> enders_;
  std::vector<uint64_t> inside_;
  std::vector<TokenId> ends_;
};

class JsonConstraint final : public TokenConstraint {
 public:
  // `texts` outlives this. `opening`: a token, special perhaps, that comes before the text.
  JsonConstraint(std::shared_ptr<const JsonGrammar> grammar, const TokenTexts& texts,
                 std::optional<TokenId> opening = {});

  void allow(std::span<uint64_t> bits) override;
  void accept(TokenId token) override;

 private:
  void allow_from(const JsonAutomaton::State& state, const std::vector<TokenTexts::Token>& tokens,
                  std::span<uint64_t> bits);

  std::shared_ptr<const JsonGrammar> grammar_;
  const TokenTexts& texts_;
  std::optional<TokenId> opening_;  // until it has come
  JsonAutomaton automaton_;
  JsonAutomaton::State state_;
};

}  // namespace dak
