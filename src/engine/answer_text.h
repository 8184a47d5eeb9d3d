// The text of an answer as its tokens come: decoded, reasoning apart, with what may become a stop
// string held back.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/stop.h"
#include "text/reasoning_text.h"
#include "text/tokenizer.h"

namespace dak {

class AnswerText {
 public:
  // Throws kInvalidArgument for an empty stop string. Stop strings do not act on reasoning.
  // `shown`: special tokens that are text.
  AnswerText(const Tokenizer& tokenizer, std::vector<std::string> stop,
             std::optional<ReasoningTags> reasoning = {}, std::vector<TokenId> shown = {})
      : decoder_(tokenizer, true, std::move(shown)), stops_(std::move(stop)) {
    if (reasoning) reasoning_.emplace(std::move(*reasoning));
  }

  struct Step {
    std::string reasoning;  // may be shown, as may `text`
    std::string text;
    bool stopped = false;  // a stop string ended the answer
  };
  // `may_stop`: stop strings act on the token's text; they begin there at the earliest where they
  // did not before.
  Step push(TokenId token, bool may_stop = true) {
    ReasoningText::Step parts = split(decoder_.push(token));
    if (may_stop) return step(std::move(parts));
    return {.reasoning = std::move(parts.reasoning), .text = std::move(parts.text)};
  }
  // What is left when the answer ends otherwise.
  Step finish() {
    ReasoningText::Step last = split(decoder_.finish());
    if (reasoning_) {
      ReasoningText::Step rest = reasoning_->finish();
      last.reasoning += rest.reasoning;
      last.text += rest.text;
    }
    Step out = step(std::move(last));
    if (!out.stopped) out.text += stops_.finish();
    return out;
  }
  bool in_reasoning() const { return reasoning_ && reasoning_->inside(); }

 private:
  ReasoningText::Step split(std::string piece) {
    if (reasoning_) return reasoning_->push(piece);
    return {.reasoning = {}, .text = std::move(piece)};
  }
  Step step(ReasoningText::Step parts) {
    StopMatcher::Step matched = stops_.push(parts.text);
    return {.reasoning = std::move(parts.reasoning),
            .text = std::move(matched.text),
            .stopped = matched.stopped};
  }

  StreamDecoder decoder_;
  std::optional<ReasoningText> reasoning_;
  StopMatcher stops_;
};

}  // namespace dak
