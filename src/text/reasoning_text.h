// An answer that may begin with the model's reasoning between two tags, as it comes: what is
// reasoning and what is the answer itself.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace dak {

struct ReasoningTags {
  std::string open;
  std::string close;
  bool opened = false;  // the prompt ends with the first tag
};

class ReasoningText {
 public:
  explicit ReasoningText(ReasoningTags tags)
      : tags_(std::move(tags)), state_(tags_.opened ? State::kOpened : State::kBegin) {}

  // Without the tags and the white space around them.
  struct Step {
    std::string reasoning;
    std::string text;
  };
  Step push(std::string_view piece);
  // What is left. Reasoning that has no end is reasoning.
  Step finish();
  // Whether what comes next may be reasoning, for all that is known.
  bool inside() const { return state_ == State::kOpened || state_ == State::kInside; }

 private:
  enum class State : uint8_t {
    kBegin,   // spaces, and perhaps the first tag
    kOpened,  // spaces after it
    kInside,
    kClosed,  // spaces after the second tag
    kAfter,
  };
  bool step(Step& out);
  bool skip_spaces();

  ReasoningTags tags_;
  State state_;
  std::string held_;
};

}  // namespace dak
