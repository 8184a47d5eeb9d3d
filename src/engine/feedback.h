// After a run: what the steps took against what was predicted, by operation, and why they differ.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/forecast.h"
#include "engine/operation_times.h"
#include "hardware/profile.h"

namespace dak {

struct OperationFeedback {
  std::string name;  // "layers.*.qkv"
  int64_t count = 0;
  double predicted_s = 0;  // of all of them in a step
  double measured_s = 0;   // their share of the step that was measured
  std::string bound_by;    // as predicted
};

struct Feedback {
  std::string workload;  // "decode:batch=8,context=513": the steps that were measured
  double predicted_s = 0;
  double measured_s = 0;
  double timed_gap_s = 0;                     // by how much each took longer when they were timed
  std::vector<OperationFeedback> operations;  // empty: not timed
  std::vector<std::string> differences;       // a sentence each, with the likely cause
};

struct FeedbackInput {
  const EntryForecast& predicted;  // of the steps as they were
  double measured_s = 0;           // of a step
  // The operations one by one. A GPU's together take longer than the step, whose kernels overlap,
  // and do not when they are timed: each takes the same time longer, however long it is. That is
  // taken off; what differs otherwise is scaled.
  const OperationTimes* operations = nullptr;
  const EntryForecast* planned = nullptr;  // of what the plan was made for
  const std::vector<Tier>& tiers;          // as the prediction took them
  const HardwareProfile* profile = nullptr;
  std::optional<LinkFacts> host_link_now = {};
};

// What differs by more than this is explained. Operations must also make more than
// kLeastShareOfStep of the step's difference worth: others are noise.
inline constexpr double kMostDifference = 0.10;
inline constexpr double kLeastShareOfStep = 0.02;

Feedback compare(const FeedbackInput& input);

}  // namespace dak
