#include "text/reasoning_text.h"

#include <algorithm>
#include <utility>

namespace dak {
namespace {

constexpr std::string_view kSpaces = " \t\r\n";

// Bytes at the end of `text` that may become `tag`.
size_t part_of(std::string_view tag, std::string_view text) {
  size_t length = std::min(text.size(), tag.size() - 1);
  while (length > 0 && !text.ends_with(tag.substr(0, length))) --length;
  return length;
}

std::string_view without_spaces_behind(std::string_view text) {
  return text.substr(0, text.find_last_not_of(kSpaces) + 1);
}

}  // namespace

ReasoningText::Step ReasoningText::push(std::string_view piece) {
  Step out;
  held_ += piece;
  while (step(out)) {
  }
  return out;
}

// False: nothing but spaces is there.
bool ReasoningText::skip_spaces() {
  held_.erase(0, std::min(held_.find_first_not_of(kSpaces), held_.size()));
  return !held_.empty();
}

bool ReasoningText::step(Step& out) {
  switch (state_) {
    case State::kBegin: {
      const size_t first = held_.find_first_not_of(kSpaces);
      if (first == std::string::npos) return false;
      const std::string_view text = std::string_view(held_).substr(first);
      if (text.starts_with(tags_.open)) {
        held_.erase(0, first + tags_.open.size());
        state_ = State::kOpened;
        return true;
      }
      if (std::string_view(tags_.open).starts_with(text)) return false;
      state_ = State::kAfter;
      return true;
    }
    case State::kOpened:
      if (!skip_spaces()) return false;
      state_ = State::kInside;
      return true;
    case State::kInside: {
      const size_t close = held_.find(tags_.close);
      const bool ends = close != std::string::npos;
      const size_t end = ends ? close : held_.size() - part_of(tags_.close, held_);
      const std::string_view certain =
          without_spaces_behind(std::string_view(held_).substr(0, end));
      out.reasoning += certain;
      held_.erase(0, ends ? close + tags_.close.size() : certain.size());
      if (ends) state_ = State::kClosed;
      return ends;
    }
    case State::kClosed:
      if (!skip_spaces()) return false;
      state_ = State::kAfter;
      return true;
    case State::kAfter:
      out.text += std::exchange(held_, {});
      return false;
  }
  return false;
}

ReasoningText::Step ReasoningText::finish() {
  Step out;
  // Of a tag that is cut off nothing is shown.
  const std::string_view held = held_;
  if (state_ == State::kBegin && held.find_first_not_of(kSpaces) == std::string_view::npos) {
    out.text = held;
  } else if (state_ == State::kInside) {
    const size_t part = part_of(tags_.close, held);
    out.reasoning = without_spaces_behind(held.substr(0, held.size() - (part > 1 ? part : 0)));
  }
  held_.clear();
  return out;
}

}  // namespace dak
