// One question to `dak plan`: a model on a machine under a budget for a workload; and its
// neighbours, which answer what would change.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/forecast.h"

namespace dak {

struct PlanQuestion {
  std::shared_ptr<const ModelFiles> files;
  EngineOptions options;  // hardware and workload filled in
  std::vector<Tier> tiers;
  std::string hardware_origin;  // "preset gh200"
};

struct PlanAnswer {
  Plan plan;
  Forecast forecast;
};

// Throws as plan_model.
PlanAnswer answer(const PlanQuestion& question);

// Makes room for the workload: its longest context unless one was given, its largest batch. Throws
// kInvalidArgument when the model or the given context is too short for it.
void settle_workload(PlanQuestion& question, bool context_given);

// What the answer's neighbours are. All at the same budget but the last.
struct WhatIfs {
  int64_t smallest_budget_bytes = 0;  // that works
  int64_t largest_context = 0;        // tokens, for as many sequences; 0: none fits
  int64_t largest_batch = 0;          // sequences of as much context
  bool context_is_models = false;     // it ends there, not the memory
  // One GiB more of local memory; absent: there is nothing left to bring in.
  std::optional<double> tokens_per_s_with_one_gib_more;
};
WhatIfs what_ifs(const PlanQuestion& question, const PlanAnswer& answer);

// Tokens per second against the local budget, from the smallest that works to what holds
// everything.
struct BudgetPoint {
  int64_t budget_bytes = 0;
  double tokens_per_s = 0;
};
std::vector<BudgetPoint> budget_curve(const PlanQuestion& question, int points);

}  // namespace dak
