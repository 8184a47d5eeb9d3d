// Predicted against measured, after a run: what to compare, and how it reads.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

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

// What a command measured many of: where ("direct, batch 8, 5 % remote"), and its feedback as JSON.
struct Compared {
  std::string where;
  nlohmann::ordered_json feedback;  // null: not modelled
};
// One line on all of them: how many differ, and the first difference of the one that differs most;
// empty if none does.
std::string misfit_line(const std::vector<Compared>& all);

}  // namespace dak
