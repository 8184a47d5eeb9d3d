// What a plan, its forecast and a machine look like on paper and as JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "cli/plan_question.h"

namespace dak {

// Each kind of operation: its bytes by tier and, for each entry of the workload, how long one takes
// and what it waits for.
std::string plan_table(const Plan& plan, const Forecast& forecast);

// TTFT, TPOT and tokens per second, with their bounds.
std::string forecast_text(const PlanQuestion& question, const PlanAnswer& answer);
// Empty for none.
std::string comparison_text(const std::vector<PlanAnswer>& compared);
std::string what_if_text(const PlanQuestion& question, const PlanAnswer& answer,
                         const WhatIfs& others);

nlohmann::json plan_json(const PlanQuestion& question, const PlanAnswer& answer,
                         const WhatIfs& others, const std::vector<PlanAnswer>& compared);

std::string profile_table(const HardwareProfile& profile);

}  // namespace dak
