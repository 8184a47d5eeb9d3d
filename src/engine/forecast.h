// What a plan is predicted to do, before anything is loaded.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "ops/operation_timer.h"
#include "plan/cost.h"

namespace dak {

// Operations of different layers that are alike in all but the layer.
struct KindForecast {
  std::string name;  // "layers.*.qkv"
  int64_t count = 0;
  double seconds = 0;                          // of all of them, in one step or prompt
  std::array<double, kMaxTiers> read_bytes{};  // likewise, by tier
  std::string bound_by;                        // what those wait for that take the most of it
};

struct EntryForecast {
  WorkloadEntry entry;
  double seconds = 0;  // of a decode step (TPOT), or of a prompt (TTFT)
  double tokens_per_s = 0;
  // The least that the bytes and the arithmetic can take: every placed byte that a pass needs read
  // once, at the tiers' bandwidths, all of them busy all the time.
  double bound_s = 0;
  std::string bound_by;
  std::vector<KindForecast> kinds;  // in the order of a pass
};

struct Forecast {
  std::vector<EntryForecast> entries;
  double tokens_per_s = 0;  // of the mix

  const EntryForecast* first(Phase phase) const;  // nullptr: the workload has none
};

// `options` as given to plan_model; `workload` need not be theirs.
Forecast forecast_of(const ModelConfig& config, const EngineOptions& options, const Plan& plan,
                     const Workload& workload);

}  // namespace dak
