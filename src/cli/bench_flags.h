// The flags of `dak bench decode`, lists and all.
#pragma once

#include <string>
#include <vector>

#include "cli/bench.h"
#include "cli/options.h"

namespace dak {

enum class BenchFormat : uint8_t { kMarkdown, kCsv, kJson };

struct BenchFlags {
  std::string model;
  std::string batches = "1,8,32";
  std::string ratios;  // default: kDefaultRatios, unless there are budgets
  std::string budgets;
  std::string modes = "direct";
  std::string windows = "adaptive";
  int64_t past_tokens = -1;
  int64_t steps = 20;
  int64_t repeats = 5;
  int64_t warmup_steps = 10;
  std::string format = "md";
  std::string output;
  PlacementFlags placement;  // device, types, threads, host budget, synthetic

  void add_to(CLI::App& app);
  // Throws kInvalidArgument naming flag and value. Chooses the device.
  DecodeBench bench() const;
  BenchFormat output_format() const;
};

inline constexpr const char* kDefaultRatios = "0,0.016,0.05,0.2,0.5";

// Throws kInvalidArgument naming --format.
BenchFormat parse_bench_format(std::string_view text);

// Those of --hbm-budget, or those of --ratio where `budgets` is empty. Throws kInvalidArgument.
std::vector<BenchPlacement> parse_placements(std::string_view ratios, std::string_view budgets);

// The parts of "1,8,32"; throws kInvalidArgument naming `flag` for an empty part.
std::vector<std::string> parse_list(std::string_view text, std::string_view flag);

}  // namespace dak
