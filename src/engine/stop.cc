#include "engine/stop.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"

namespace dak {
namespace {

struct Match {
  size_t begin;
  size_t end;
};

// Earliest end, and of those the earliest beginning.
std::optional<Match> first_match(std::string_view text, const std::vector<std::string>& stops) {
  std::optional<Match> best;
  for (const std::string& stop : stops) {
    const size_t begin = text.find(stop);
    if (begin == std::string_view::npos) continue;
    const size_t end = begin + stop.size();
    if (!best || end < best->end || (end == best->end && begin < best->begin)) {
      best = Match{begin, end};
    }
  }
  return best;
}

// Where the longest suffix of `text` begins that is a proper prefix of a stop string.
size_t held_begin(std::string_view text, const std::vector<std::string>& stops) {
  size_t longest = 0;
  for (const std::string& stop : stops) {
    for (size_t length = std::min(stop.size() - 1, text.size()); length > longest; --length) {
      if (text.ends_with(std::string_view(stop).substr(0, length))) longest = length;
    }
  }
  return text.size() - longest;
}

}  // namespace

StopMatcher::StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {
  for (const std::string& stop : stops_) {
    if (stop.empty()) throw_invalid("sampling", "stop", {}, "is empty", "omit it");
  }
}

StopMatcher::Step StopMatcher::push(std::string_view piece) {
  if (stopped_) return {.text = {}, .stopped = true};
  held_ += piece;
  if (const std::optional<Match> match = first_match(held_, stops_)) {
    stopped_ = true;
    Step step{.text = held_.substr(0, match->begin), .stopped = true};
    held_.clear();
    return step;
  }
  const size_t begin = held_begin(held_, stops_);
  Step step{.text = held_.substr(0, begin), .stopped = false};
  held_.erase(0, begin);
  return step;
}

std::string StopMatcher::finish() { return std::exchange(held_, {}); }

}  // namespace dak
