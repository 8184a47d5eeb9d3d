// What a run looks like on paper.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "engine/engine.h"

namespace dak {

// A phase against its bound.
struct PhaseReport {
  double tokens_per_s = 0;
  double bytes_per_s = 0;
  double bound_s = 0;
  double percent_of_bound = 0;  // bound / time
  std::string bottleneck;
};
PhaseReport report_of(const PhaseStats& stats, const std::vector<Tier>& tiers);

std::string run_table(const GenerateResult& result, const Plan& plan);
nlohmann::json run_json(const GenerateResult& result, const Plan& plan);

}  // namespace dak
