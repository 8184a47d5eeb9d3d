#include "engine/forecast.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>

#include "engine/model_costs.h"

namespace dak {
namespace {

TierBytes placed_bytes(const Operation& operation, const Plan& plan) {
  if (operation.operand >= 0) {
    return placed_bytes(plan.operands.at(static_cast<size_t>(operation.operand)));
  }
  TierBytes bytes = operation.remote_bytes;
  bytes[0] = operation.size_bytes - std::accumulate(bytes.begin() + 1, bytes.end(), int64_t{0});
  return bytes;
}

// The same hardware without what kernels lose: each byte read once.
Machine ideal(const Machine& machine) {
  constexpr int64_t kAnyRows = int64_t{1} << 40;
  Machine best = machine;
  best.kernels.local_columns_per_reading = kAnyRows;
  best.kernels.remote_columns_per_reading = kAnyRows;
  best.kernels.attention_rows_per_reading = kAnyRows;
  return best;
}

class Forecaster {
 public:
  Forecaster(const Plan& plan, const std::vector<Operation>& operations, const Machine& machine)
      : operations_(operations), machine_(machine), ideal_(ideal(machine)) {
    for (const Operation& operation : operations) {
      bytes_.push_back(placed_bytes(operation, plan));
      const auto [found, is_new] = index_.emplace(operation.name, kinds_.size());
      if (is_new) kinds_.push_back({.name = operation.name});
      kinds_[found->second].count += 1;
      kind_of_.push_back(found->second);
    }
  }

  EntryForecast entry(const WorkloadEntry& entry, int64_t prefill_chunk) const {
    EntryForecast forecast{.entry = entry, .bound_by = {}, .kinds = kinds_};
    std::vector<std::map<std::string, double>> waits(kinds_.size());
    for (const CountedPass& counted : passes_of(entry, prefill_chunk)) {
      for (size_t i = 0; i < operations_.size(); ++i) {
        const OperationTime time =
            time_of(cost_of(operations_[i], counted.pass, machine_), bytes_[i]);
        const double seconds = counted.count * time.seconds;
        forecast.seconds += seconds;
        KindForecast& kind = forecast.kinds[kind_of_[i]];
        kind.seconds += seconds;
        const auto read = bytes_read(operations_[i], counted.pass, machine_, bytes_[i]);
        for (size_t t = 0; t < read.size(); ++t) kind.read_bytes[t] += counted.count * read[t];
        waits[kind_of_[i]][limit_name(time.limit, time.tier, machine_.tiers)] += seconds;
      }
      add_bound(counted, forecast);
    }
    for (size_t k = 0; k < waits.size(); ++k) {
      forecast.kinds[k].bound_by = longest(waits[k]);
    }
    const int64_t tokens = entry.phase == Phase::kDecode ? entry.batch : entry.tokens;
    if (forecast.seconds > 0) {
      forecast.tokens_per_s = static_cast<double>(tokens) / forecast.seconds;
    }
    return forecast;
  }

 private:
  static std::string longest(const std::map<std::string, double>& waits) {
    const auto found = std::ranges::max_element(
        waits, [](const auto& a, const auto& b) { return a.second < b.second; });
    return found == waits.end() ? "" : found->first;
  }

  // Passes do not overlap, so their bounds add up; the name is that of the longest.
  void add_bound(const CountedPass& counted, EntryForecast& forecast) const {
    std::map<std::string, double> seconds;
    double flops = 0;
    for (size_t i = 0; i < operations_.size(); ++i) {
      const auto read = bytes_read(operations_[i], counted.pass, ideal_, bytes_[i]);
      for (size_t t = 0; t < machine_.tiers.size(); ++t) {
        const Tier& tier = machine_.tiers[t];
        if (tier.read_bytes_per_s > 0) seconds[tier.channel] += read[t] / tier.read_bytes_per_s;
      }
      flops += flops_of(operations_[i], counted.pass);
    }
    if (machine_.peak_flops_per_s > 0) seconds["compute"] = flops / machine_.peak_flops_per_s;
    forecast.bound_by = longest(seconds);
    forecast.bound_s += counted.count * (seconds.empty() ? 0 : seconds.at(forecast.bound_by));
  }

  const std::vector<Operation>& operations_;
  const Machine& machine_;
  Machine ideal_;
  std::vector<TierBytes> bytes_;
  std::vector<KindForecast> kinds_;
  std::map<std::string, size_t> index_;
  std::vector<size_t> kind_of_;  // of each operation
};

}  // namespace

const EntryForecast* Forecast::first(Phase phase) const {
  const auto found = std::ranges::find_if(
      entries, [phase](const EntryForecast& entry) { return entry.entry.phase == phase; });
  return found == entries.end() ? nullptr : &*found;
}

Forecast forecast_of(const ModelConfig& config, const EngineOptions& options, const Plan& plan,
                     const Workload& workload) {
  std::vector<Operand> operands;
  for (const OperandPlan& entry : plan.operands) operands.push_back(entry.operand);
  const bool cuda = options.device.backend == Backend::kCuda;
  const HardwareProfile profile =
      options.hardware ? *options.hardware : profile_of_tiers(plan.tiers, cuda);
  const Machine machine = machine_of(profile, plan.tiers, operands.at(0).dtype);
  const std::vector<Operation> operations =
      operations_of(program_of(config), operands, kv_cache_dtype(config, options), plan.fixed);
  const Forecaster forecaster(plan, operations, machine);
  Forecast forecast;
  double seconds_per_token = 0;
  for (const WorkloadEntry& entry : workload) {
    forecast.entries.push_back(forecaster.entry(entry, plan.fixed.prefill_chunk));
    seconds_per_token += entry.share / forecast.entries.back().tokens_per_s;
  }
  forecast.tokens_per_s = 1 / seconds_per_token;
  return forecast;
}

}  // namespace dak
