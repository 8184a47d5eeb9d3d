// The text of an answer as its tokens come: decoded, with what may become a stop string held back.
#pragma once

#include <string>
#include <vector>

#include "engine/stop.h"
#include "text/tokenizer.h"

namespace dak {

class AnswerText {
 public:
  // Throws kInvalidArgument for an empty stop string.
  AnswerText(const Tokenizer& tokenizer, std::vector<std::string> stop)
      : decoder_(tokenizer), stops_(std::move(stop)) {}

  // What may be shown after `token`; stopped: a stop string ended the answer.
  StopMatcher::Step push(TokenId token) { return stops_.push(decoder_.push(token)); }
  // What is left when the answer ends otherwise.
  std::string finish() {
    StopMatcher::Step step = stops_.push(decoder_.finish());
    if (!step.stopped) step.text += stops_.finish();
    return std::move(step.text);
  }

 private:
  StreamDecoder decoder_;
  StopMatcher stops_;
};

}  // namespace dak
