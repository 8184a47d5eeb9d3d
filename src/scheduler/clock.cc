#include "scheduler/clock.h"

#include <algorithm>
#include <cmath>

#include "base/seconds.h"

namespace dak {
namespace {

constexpr double kWindowSeconds = 1;

}  // namespace

void ServingClock::wake() {
  const Clock::time_point now = Clock::now();
  if (now - since_ >= kRest) {
    recent_ = {.begin = now};
    last_seconds_ = 0;
  }
  since_ = now;
}

void ServingClock::begin_pass() {
  const Clock::time_point now = Clock::now();
  const double seconds = seconds_of(now - since_);
  between_seconds_ += seconds;
  const int bucket = static_cast<int>(std::ceil(4 * std::log2(std::max(1.0, seconds * 1e6))));
  ++between_[static_cast<size_t>(std::min(bucket, kBuckets - 1))];
  since_ = now;
}

void ServingClock::end_pass(int64_t sequences, int64_t prompt_rows) {
  const Clock::time_point now = Clock::now();
  const double seconds = seconds_of(now - since_);
  engine_seconds_ += seconds;
  ++passes_;
  since_ = now;
  const double window = seconds_of(now - recent_.begin);
  if (window >= kWindowSeconds) {
    last_ = recent_;
    last_seconds_ = window;
    recent_ = {.begin = now};
  }
  recent_.passes += 1;
  recent_.sequences += sequences;
  recent_.prompt_rows += prompt_rows;
  recent_.pass_seconds += seconds;
}

double ServingClock::percentile(double share) const {
  int64_t left = static_cast<int64_t>(std::ceil(share * static_cast<double>(passes_)));
  for (int bucket = 0; bucket < kBuckets; ++bucket) {
    left -= between_[static_cast<size_t>(bucket)];
    if (left <= 0) return passes_ == 0 ? 0 : std::exp2(bucket / 4.0) * 1e-6;
  }
  return std::exp2((kBuckets - 1) / 4.0) * 1e-6;
}

void ServingClock::fill(ServingStats& stats, Clock::time_point now) const {
  stats.passes = passes_;
  stats.engine_seconds = engine_seconds_;
  stats.scheduler_seconds = between_seconds_;
  stats.scheduler_p50_s = percentile(0.50);
  stats.scheduler_p99_s = percentile(0.99);
  // The window that is under way until one is complete; nothing once both are long past.
  const bool old = now - recent_.begin >= kRest;
  const bool first = last_seconds_ == 0;
  const Recent& window = old || first ? recent_ : last_;
  const double seconds = old || first ? seconds_of(now - recent_.begin) : last_seconds_;
  if (window.passes == 0 || seconds <= 0 || now - since_ >= kRest) return;
  const auto passes = static_cast<double>(window.passes);
  stats.tokens_per_s = static_cast<double>(window.generated) / seconds;
  stats.prompt_per_s = static_cast<double>(window.prompt_rows) / seconds;
  stats.pass_seconds = window.pass_seconds / passes;
  stats.sequences = static_cast<double>(window.sequences) / passes;
}

}  // namespace dak
