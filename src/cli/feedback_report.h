// Predicted against measured, after a run: what to compare, and how it reads.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "engine/feedback.h"

namespace dak {

// Empty: the cost model speaks of what these options run; else why it does not.
std::string not_modelled(const EngineOptions& options);

// How often a step is timed operation by operation: about 0.2 s of them, one at least.
int64_t timed_steps(double step_seconds);

// What a step or a prompt took against its forecast. `operations`: may be null.
Feedback feedback_on(const ModelConfig& config, const EngineOptions& options, const Plan& plan,
                     const WorkloadEntry& entry, double measured_s,
                     const OperationTimes* operations);

// The differences, a line each, after one with the times; empty if nothing differs.
std::string feedback_text(const Feedback& feedback);
nlohmann::json feedback_json(const Feedback& feedback);

}  // namespace dak
