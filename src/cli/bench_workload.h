// `dak bench workload`: every entry of a workload (prompts, decode steps) on one engine, measured
// against its prediction, for several placements and budgets.
#pragma once

#include "cli/bench.h"
#include "cli/commands.h"

namespace dak {

struct WorkloadBench {
  std::string model;
  Workload workload;
  std::vector<PlacementPolicy> policies;
  std::vector<std::optional<int64_t>> budgets;  // of the local tier; nullopt: what is free
  int64_t steps = 20;
  int64_t repeats = 3;  // of prompts; decode runs `steps` steps as often
  EngineOptions engine;
};

// Flags of the command, and what runs it.
Command add_bench_workload(CLI::App& bench);

// A row for each budget and policy, in this order. What cannot run is a row with the reason in
// `skipped`. Throws Interrupted, and Error for what would stop every row.
std::vector<OrderedRow> run_workload_bench(const ModelFiles& files, const WorkloadBench& bench,
                                           const std::vector<Tier>& tiers, const BenchHooks& hooks);

}  // namespace dak
