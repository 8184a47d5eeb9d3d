// Holds an answer to a constraint from where its reasoning ends; the reasoning itself is free, but
// the answer does not end in it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "scheduler/scheduler.h"
#include "server/json_constraint.h"
#include "text/reasoning_text.h"

namespace dak {

class AfterReasoning final : public TokenConstraint {
 public:
  using Make = std::function<std::shared_ptr<TokenConstraint>()>;
  // The tags as `texts` has them, which outlives this. `make` gives what holds an answer.
  AfterReasoning(ReasoningTags tags, const TokenTexts& texts, Make make);

  void allow(std::span<uint64_t> bits) override;
  void accept(TokenId token) override;

 private:
  enum class State : uint8_t {
    kBegin,   // the first tag or, as long as both are possible, at once the answer
    kInside,  //
    kSpaces,  // after the second tag: few spaces, then the answer
    kAnswer,
  };
  void allow_tokens(std::span<uint64_t> bits);
  bool fits(std::string_view bytes) const;
  bool fits_inside(std::string_view bytes) const;
  void read(std::string_view bytes);

  ReasoningTags tags_;
  const TokenTexts& texts_;
  Make make_;
  std::shared_ptr<TokenConstraint> answer_;  // kBegin: null when it is no longer possible
  State state_;
  std::string read_;  // kBegin: so far; kInside: what may become the second tag
  size_t spaces_ = 0;
  std::vector<uint64_t> of_answer_;  // what `answer_` allowed when last asked
};

}  // namespace dak
