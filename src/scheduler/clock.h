// Where a scheduler's time goes: passes, what is done between them, and rates of about the last
// second.
#pragma once

#include <array>
#include <chrono>

#include "scheduler/scheduler.h"

namespace dak {

class ServingClock {
 public:
  using Clock = std::chrono::steady_clock;

  // After so long without a pass the rates are 0.
  static constexpr std::chrono::seconds kRest{2};

  // Work begins after a rest, in which no time counts.
  void wake();
  // A pass begins; ends. What comes before it, since the last one or since work began, is between.
  void begin_pass();
  void end_pass(int64_t sequences, int64_t prompt_rows);
  // Tokens that the pass led to.
  void count_generated(int64_t tokens) { recent_.generated += tokens; }

  void fill(ServingStats& stats, Clock::time_point now) const;

 private:
  // Of times between passes: bucket i up to 2^(i/4) us.
  static constexpr int kBuckets = 96;
  struct Recent {
    Clock::time_point begin;
    int64_t generated = 0;
    int64_t prompt_rows = 0;
    int64_t passes = 0;
    int64_t sequences = 0;
    double pass_seconds = 0;
  };
  double percentile(double share) const;

  Clock::time_point since_ = Clock::now();
  double engine_seconds_ = 0;
  double between_seconds_ = 0;
  std::array<int64_t, kBuckets> between_{};
  int64_t passes_ = 0;
  Recent recent_{.begin = since_};
  // Of the last second that is complete.
  Recent last_{};
  double last_seconds_ = 0;
};

}  // namespace dak
