// `dak bench`: what is measured, and what comes of it.
#pragma once

#include <atomic>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/terminal.h"
#include "engine/engine.h"
#include "hardware/nvml.h"

namespace dak {

using OrderedRow = nlohmann::ordered_json;  // one cell; its fields are in docs/guide/bench.md

template <typename Value>
OrderedRow or_null(const std::optional<Value>& value) {
  return value ? OrderedRow(*value) : OrderedRow(nullptr);
}

inline constexpr double kGiga = 1e9;

// Where the weights lie: at a ratio or under a budget.
struct BenchPlacement {
  std::optional<double> ratio;
  bool matched = false;  // the ratio at which all tiers take equally long, known once probed
  std::optional<int64_t> budget_bytes;
};

// Every combination of the lists is a cell.
struct DecodeBench {
  std::string model;
  std::vector<int64_t> batches;
  std::vector<BenchPlacement> placements;
  std::vector<AccessMode> modes;
  std::vector<std::optional<int64_t>> windows;  // bytes; nullopt: adaptive
  std::optional<int64_t> past_tokens;           // default: kDefaultPast, or what the model allows
  int64_t steps = 20;                           // of one repeat
  int64_t repeats = 5;
  int64_t warmup_steps = 10;
  EngineOptions engine;  // what all cells share

  size_t cells() const {
    return batches.size() * placements.size() * modes.size() * windows.size();
  }
};

inline constexpr int64_t kDefaultPast = 512;

// The share of the weights that remote tiers can read in the time in which `local` reads the rest.
double matched_ratio(const std::vector<Tier>& tiers);

// Sets past_tokens and the engine's context. Throws kInvalidArgument when they exceed the model's.
void settle_context(DecodeBench& bench, const ModelConfig& config);

// What a run of cells talks to.
struct BenchHooks {
  std::function<void(const std::string& what, size_t done)> on_cell;  // before each
  ProgressFn on_load;
  std::function<void(const OrderedRow&)> on_row;  // in the order of the lists
  const std::atomic<bool>* cancel = nullptr;
};

// A cell that cannot run is a row with the reason in `skipped`. Throws Interrupted, and Error for
// what would stop every cell.
std::vector<OrderedRow> run_decode_bench(const ModelFiles& files, const DecodeBench& bench,
                                         const std::vector<Tier>& tiers,
                                         const std::optional<NvmlDevice>& nvml,
                                         const BenchHooks& hooks);

}  // namespace dak
