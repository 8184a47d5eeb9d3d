// `dak bench prefill`: the time to the first token over lists of prompt lengths, placements and
// lengths of a pass.
#pragma once

#include <atomic>
#include <string>

#include "cli/options.h"

namespace dak {

struct PrefillFlags {
  std::string model;
  std::string prompts = "512,2048,8192";
  std::string ratios = "0,0.2,0.5";
  std::string budgets;
  std::string chunks = "auto";
  int64_t repeats = 3;
  std::string output;
  PlacementFlags placement;  // device, types, threads, host budget, mode, synthetic

  void add_to(CLI::App& app);
};

// Prints a line for each cell as it is measured. Throws Interrupted when `cancel` is set, and
// Error.
int run_prefill_bench(const PrefillFlags& flags, const std::atomic<bool>& cancel);

}  // namespace dak
