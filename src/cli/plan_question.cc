#include "cli/plan_question.h"

#include <algorithm>

#include "base/error.h"

namespace dak {
namespace {

constexpr int64_t kMostSequences = 4096;
constexpr int64_t kGiB = int64_t{1} << 30;

// The largest value in [1, most] that works, if 1 does and what is larger needs more; else 0.
template <class Works>
int64_t largest(int64_t most, const Works& works) {
  int64_t good = 0;
  int64_t bad = most + 1;
  while (bad - good > 1) {
    const int64_t middle = good + (bad - good) / 2;
    (works(middle) ? good : bad) = middle;
  }
  return good;
}

// Whether there is a plan at all. How it places is no matter, so the quicker way.
bool works(const PlanQuestion& question, EngineOptions options) {
  options.placement = PlacementPolicy::kUniform;
  try {
    plan_model(*question.files, options, question.tiers);
    return true;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kResourceExhausted) throw;
    return false;
  }
}

int64_t budget_of(const PlanQuestion& question) {
  return question.options.local_budget_bytes.value_or(question.tiers.at(0).capacity_bytes);
}

// The question at another budget, and on a machine that has as much.
PlanQuestion at_budget(const PlanQuestion& question, int64_t bytes) {
  PlanQuestion changed = question;
  changed.options.local_budget_bytes = bytes;
  changed.options.offload_ratio.reset();
  changed.tiers.at(0).capacity_bytes = std::max(changed.tiers.at(0).capacity_bytes, bytes);
  return changed;
}

}  // namespace

PlanAnswer answer(const PlanQuestion& question) {
  Plan plan = plan_model(*question.files, question.options, question.tiers);
  Forecast forecast =
      forecast_of(question.files->config, question.options, plan, question.options.workload);
  return {.plan = std::move(plan), .forecast = std::move(forecast)};
}

void settle_workload(PlanQuestion& question, bool context_given) {
  EngineOptions& options = question.options;
  const ModelConfig& config = question.files->config;
  if (options.workload.empty()) {
    options.workload = default_workload(options.sequences, planned_context(config, options));
    return;
  }
  const std::string text = workload_text(options.workload);
  const int64_t tokens = most_tokens(options.workload);
  if (tokens > config.context_length) {
    throw_invalid(
        "--workload", {}, text,
        fmt::format("needs {} tokens of context, the model has {}", tokens, config.context_length),
        "use a shorter context or prompt");
  }
  if (context_given && planned_context(config, options) < tokens) {
    throw_invalid("--context", {}, std::to_string(options.context),
                  fmt::format("is less than the {} tokens that --workload needs", tokens),
                  "omit --context or raise it");
  }
  if (!context_given) options.context = tokens;
  options.sequences = std::max(options.sequences, most_sequences(options.workload));
}

WhatIfs what_ifs(const PlanQuestion& question, const PlanAnswer& now) {
  const EngineOptions& options = question.options;
  WhatIfs found{.smallest_budget_bytes = now.plan.smallest_local_budget_bytes};
  // Under a ratio, what it takes is the budget.
  const int64_t budget = options.offload_ratio ? now.plan.bytes_in(0) : budget_of(question);
  const PlanQuestion fixed = at_budget(question, budget);
  found.largest_context = largest(question.files->config.context_length, [&](int64_t context) {
    EngineOptions longer = fixed.options;
    longer.context = context;
    return works(fixed, longer);
  });
  found.context_is_models = found.largest_context == question.files->config.context_length;
  found.largest_batch = largest(kMostSequences, [&](int64_t sequences) {
    EngineOptions wider = fixed.options;
    wider.sequences = sequences;
    return works(fixed, wider);
  });
  if (now.plan.offload_ratio() > 0) {
    found.tokens_per_s_with_one_gib_more =
        answer(at_budget(question, budget + kGiB)).forecast.tokens_per_s;
  }
  return found;
}

std::vector<BudgetPoint> budget_curve(const PlanQuestion& question, int points) {
  PlanQuestion roomy = at_budget(question, int64_t{1} << 60);
  const int64_t most = plan_model(*roomy.files, roomy.options, roomy.tiers).bytes_in(0);
  const int64_t least = plan_model(*roomy.files, at_budget(question, most).options, roomy.tiers)
                            .smallest_local_budget_bytes;
  std::vector<BudgetPoint> curve;
  for (int i = 0; i < points; ++i) {
    const int64_t budget = least + (most - least) / (points - 1) * i;
    try {
      curve.push_back({.budget_bytes = budget,
                       .tokens_per_s = answer(at_budget(question, budget)).forecast.tokens_per_s});
    } catch (const Error& error) {
      // Where blocks do not fill the host to the byte, the least budget is a block too small.
      if (error.code() != ErrorCode::kResourceExhausted) throw;
    }
  }
  return curve;
}

}  // namespace dak
