// Stop strings over streamed text: holds back what could still become a stop string. The first stop
// string to be complete wins, the longest of those that end together, so that the answer does not
// depend on how the text is cut into pieces.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dak {

class StopMatcher {
 public:
  // Empty strings throw kInvalidArgument.
  explicit StopMatcher(std::vector<std::string> stops);

  struct Step {
    std::string text;      // safe to emit
    bool stopped = false;  // a stop string was completed; `text` ends before it
  };
  Step push(std::string_view piece);  // after a stop: no text, stopped
  std::string finish();               // what was held back, when generation ends otherwise

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace dak
