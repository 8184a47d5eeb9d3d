// Progress of long work, reported by libraries and drawn by the command line.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

namespace dak {

struct Progress {
  std::string_view what;  // "loading weights"
  int64_t done_bytes = 0;
  int64_t total_bytes = 0;
  double seconds = 0;  // since the work began
};

// Called often, from one thread at a time; must be cheap. May throw to cancel the work.
using ProgressFn = std::function<void(const Progress&)>;

}  // namespace dak
