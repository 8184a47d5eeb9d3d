// Bytes done by many threads, reported from one at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string_view>

#include "base/progress.h"
#include "base/seconds.h"

namespace dak {

class ProgressCounter {
 public:
  // `what` outlives the counter: a literal. An empty `report` makes `add` free.
  ProgressCounter(std::string_view what, int64_t total_bytes, const ProgressFn& report)
      : what_(what), total_bytes_(total_bytes), report_(report) {}

  // Throws what the report throws, to cancel the work.
  void add(int64_t bytes) {
    if (!report_) return;
    const std::lock_guard lock(mutex_);
    done_bytes_ += bytes;
    report_({.what = what_,
             .done_bytes = done_bytes_,
             .total_bytes = total_bytes_,
             .seconds = seconds_since(start_)});
  }

 private:
  std::string_view what_;
  int64_t total_bytes_;
  const ProgressFn& report_;
  int64_t done_bytes_ = 0;
  std::mutex mutex_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace dak
