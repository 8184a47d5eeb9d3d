// A cell of `dak bench decode` and its measurement, turned into a row of named figures.
#pragma once

#include "cli/bench.h"
#include "cli/bench_stats.h"
#include "engine/feedback.h"
#include "ops/cuda_backend.h"

namespace dak {

struct BenchCell {
  int64_t batch = 0;
  BenchPlacement placement;
  AccessMode mode = AccessMode::kDirect;
  std::optional<int64_t> window_bytes;
};

struct LinkMeasurement {
  LinkStatus status;       // at the end
  int64_t read_bytes = 0;  // during the measurement, as the kernels counted them
};

struct DecodeMeasurement {
  double kv_ratio = 0;
  Summary step_seconds;
  TierTraffic traffic;                               // of all measured steps
  std::vector<std::optional<LinkMeasurement>> link;  // by tier
  std::optional<double> energy_j;                    // over energy_seconds, energy_tokens
  double energy_seconds = 0;
  int64_t energy_tokens = 0;
  std::optional<int64_t> sm_clock_mhz;
  std::optional<Feedback> feedback;  // absent: not modelled
};

// "direct, ratio 0.05, batch 8": for people.
std::string description(const BenchCell& cell);

// A field name that ends in a tier's name: "bytes_host", "window_bytes_peer_1".
std::string field_of(std::string_view prefix, const Tier& tier);

// Every row has every field; what is not known is null.
OrderedRow skipped_row(const BenchCell& cell, const std::vector<Tier>& tiers,
                       const std::string& reason);
OrderedRow measured_row(const BenchCell& cell, const Plan& plan, const DecodeMeasurement& measured,
                        const DecodeBench& bench, double load_seconds);

}  // namespace dak
