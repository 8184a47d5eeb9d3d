// Runs the cells of `dak bench decode`. Loading is what costs: one engine serves all batches of a
// placement, mode and window, and so has room for the largest.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <map>

#include "base/error.h"
#include "base/seconds.h"
#include "cli/bench_rows.h"
#include "cli/feedback_report.h"
#include "engine/decode_loop.h"

namespace dak {
namespace {

constexpr uint64_t kKvSeed = 1;
// Energy counters are refreshed every 20-100 ms: over a second they are right to 10 %.
constexpr double kLeastEnergySeconds = 1;

// Those that make a cell impossible and leave the others as they are.
bool concerns_one_cell(const Error& error) {
  return error.code() == ErrorCode::kResourceExhausted || error.code() == ErrorCode::kUnsupported;
}

class DecodeRun {
 public:
  DecodeRun(const ModelFiles& files, const DecodeBench& bench, const std::vector<Tier>& tiers,
            const std::optional<NvmlDevice>& nvml, const BenchHooks& hooks)
      : files_(files), bench_(bench), tiers_(tiers), nvml_(nvml), hooks_(hooks) {}

  std::vector<OrderedRow> run() {
    std::vector<BenchCell> groups;
    for (const BenchPlacement& placement : bench_.placements) {
      for (const AccessMode mode : bench_.modes) {
        for (const std::optional<int64_t>& window : bench_.windows) {
          groups.push_back({.placement = placement, .mode = mode, .window_bytes = window});
        }
      }
    }
    for (const BenchCell& group : groups) check_flags(group);
    for (const BenchCell& group : groups) run_group(group);
    return std::move(rows_);
  }

 private:
  void check_cancel() const {
    if (hooks_.cancel != nullptr && *hooks_.cancel) throw Interrupted();
  }

  void add(OrderedRow row) {
    rows_.push_back(std::move(row));
    if (hooks_.on_row) hooks_.on_row(rows_.back());
  }

  // Lists that contradict each other in this cell; empty: they do not.
  std::string contradiction(const BenchCell& cell) const {
    if (cell.mode == AccessMode::kResident && cell.placement.ratio.value_or(0) > 0) {
      return "resident keeps all weights local: ratio 0 only";
    }
    if (cell.window_bytes && cell.mode != AccessMode::kDirect) {
      return fmt::format("mode {} has no window to fix", name(cell.mode));
    }
    return {};
  }

  EngineOptions options_of(const BenchCell& cell) const {
    EngineOptions options = bench_.engine;
    options.offload_ratio = cell.placement.ratio;
    options.local_budget_bytes = cell.placement.budget_bytes;
    options.mode = cell.mode;
    options.window_bytes = cell.window_bytes;
    if (cell.mode == AccessMode::kResident) options.kv_ratio = 0;
    return options;
  }

  // Wrong values are said before anything is measured.
  void check_flags(const BenchCell& cell) const {
    if (!contradiction(cell).empty()) return;
    try {
      plan_model(files_, options_of(cell), tiers_);
    } catch (const Error& error) {
      if (!concerns_one_cell(error)) throw;
    }
  }

  // All batches of one engine.
  void run_group(BenchCell cell) {
    std::map<int64_t, std::string> reasons;  // by batch
    if (const std::string reason = contradiction(cell); !reason.empty()) {
      for (const int64_t batch : bench_.batches) reasons[batch] = reason;
    }
    std::unique_ptr<Engine> engine = load(cell, reasons);
    for (const int64_t batch : bench_.batches) {
      cell.batch = batch;
      if (!reasons.contains(batch)) {
        try {
          measure(*engine, cell);
          continue;
        } catch (const Error& error) {
          if (!concerns_one_cell(error)) throw;
          reasons[batch] = error.what();
        }
      }
      add(skipped_row(cell, tiers_, reasons.at(batch)));
    }
  }

  // The engine with room for the largest batch that fits; those that do not get their reasons.
  std::unique_ptr<Engine> load(const BenchCell& cell, std::map<int64_t, std::string>& reasons) {
    EngineOptions options = options_of(cell);
    while (true) {
      int64_t largest = 0;
      for (const int64_t batch : bench_.batches) {
        if (!reasons.contains(batch)) largest = std::max(largest, batch);
      }
      if (largest == 0) return nullptr;
      BenchCell loading = cell;
      loading.batch = largest;
      announce("loading " + description(loading));
      options.sequences = largest;
      bool planned = false;
      try {
        const Plan plan = plan_model(files_, options, tiers_);
        check_memory(plan, options.device);
        planned = true;
        return std::make_unique<Engine>(files_, options, tiers_, [this](const Progress& progress) {
          check_cancel();
          if (hooks_.on_load) hooks_.on_load(progress);
        });
      } catch (const Error& error) {
        if (!concerns_one_cell(error)) throw;
        // A smaller batch may fit a plan; it does not mend what loading could not do.
        for (const int64_t batch : bench_.batches) {
          if (batch == largest || planned) reasons.emplace(batch, error.what());
        }
      }
    }
  }

  void announce(const std::string& what) const {
    check_cancel();
    if (hooks_.on_cell) hooks_.on_cell(what, rows_.size());
  }

  void measure(Engine& engine, const BenchCell& cell) {
    announce(description(cell));
    DecodeLoop loop(engine, cell.batch, bench_.past_tokens.value_or(0), kKvSeed);
    if (bench_.warmup_steps > 0) {
      loop.run(bench_.warmup_steps);
      loop.rewind();
    }
    DecodeMeasurement measured{.link = links(engine)};
    std::vector<double> step_seconds;
    const std::optional<double> energy_before = nvml_ ? nvml_->energy_j() : std::nullopt;
    const auto start = std::chrono::steady_clock::now();
    for (int64_t repeat = 0; repeat < bench_.repeats; ++repeat) {
      const DecodeTiming timing = run_once(loop, cell, measured);
      step_seconds.insert(step_seconds.end(), timing.step_seconds.begin(),
                          timing.step_seconds.end());
      measured.traffic.add_all(timing.traffic);
    }
    if (nvml_) measured.sm_clock_mhz = nvml_->sm_clock_mhz();
    const std::vector<std::optional<LinkMeasurement>> after = links(engine);
    for (size_t i = 0; i < after.size(); ++i) {
      if (!after[i]) continue;
      measured.link[i] = {.status = after[i]->status,
                          .read_bytes = after[i]->read_bytes - measured.link[i]->read_bytes};
    }
    if (energy_before) {
      while (seconds_since(start) < kLeastEnergySeconds) run_once(loop, cell, measured);
      const std::optional<double> energy_after = nvml_->energy_j();
      measured.energy_seconds = seconds_since(start);
      if (energy_after) measured.energy_j = *energy_after - *energy_before;
    }
    measured.step_seconds = summarise(std::move(step_seconds));
    measured.feedback = feedback(engine, loop, cell, measured.step_seconds.median);
    measured.kv_ratio = options_of(cell).kv_ratio;
    add(measured_row(cell, engine.plan(), measured, bench_, engine.load_seconds()));
  }

  // The middle one of a repeat's steps stands for all of them.
  std::optional<Feedback> feedback(const Engine& engine, DecodeLoop& loop, const BenchCell& cell,
                                   double step_seconds) const {
    const EngineOptions options = options_of(cell);
    if (!not_modelled(options).empty()) return std::nullopt;
    check_cancel();
    loop.rewind();
    const OperationTimes times = loop.time_operations(timed_steps(step_seconds));
    const WorkloadEntry entry{.phase = Phase::kDecode,
                              .batch = cell.batch,
                              .context = bench_.past_tokens.value_or(0) + (bench_.steps + 1) / 2};
    return feedback_on(files_.config, options, engine.plan(), entry, step_seconds, &times);
  }

  DecodeTiming run_once(DecodeLoop& loop, const BenchCell& cell,
                        DecodeMeasurement& measured) const {
    check_cancel();
    loop.rewind();
    measured.energy_tokens += bench_.steps * cell.batch;
    return loop.run(bench_.steps);
  }

  // What the links have read so far; nullopt for local tiers and without a GPU.
  std::vector<std::optional<LinkMeasurement>> links(const Engine& engine) const {
    std::vector<std::optional<LinkMeasurement>> links(tiers_.size());
    if (engine.cuda() == nullptr) return links;
    for (size_t i = 0; i < tiers_.size(); ++i) {
      if (tiers_[i].kind == TierKind::kLocal) continue;
      const LinkStatus status = link_status(*engine.cuda(), static_cast<TierIndex>(i));
      links[i] = {.status = status, .read_bytes = status.read_bytes};
    }
    return links;
  }

  const ModelFiles& files_;
  const DecodeBench& bench_;
  const std::vector<Tier>& tiers_;
  const std::optional<NvmlDevice>& nvml_;
  const BenchHooks& hooks_;
  std::vector<OrderedRow> rows_;
};

}  // namespace

double matched_ratio(const std::vector<Tier>& tiers) {
  double local = 0;
  double remote = 0;
  for (const Tier& tier : tiers) {
    (tier.kind == TierKind::kLocal ? local : remote) += tier.read_bytes_per_s;
  }
  return local + remote > 0 ? remote / (local + remote) : 0;
}

void settle_context(DecodeBench& bench, const ModelConfig& config) {
  const int64_t steps = std::max(bench.steps, bench.warmup_steps);
  const int64_t most = config.context_length - steps;
  if (most < 1) {
    throw_invalid("--steps", {}, std::to_string(steps),
                  fmt::format("leaves no past in the model's context of {}", config.context_length),
                  "use fewer steps, warm-up included");
  }
  if (!bench.past_tokens) bench.past_tokens = std::min(kDefaultPast, most);
  if (*bench.past_tokens < 1 || *bench.past_tokens > most) {
    throw_invalid("--context", {}, std::to_string(*bench.past_tokens),
                  fmt::format("and {} steps are outside the model's context of {}", steps,
                              config.context_length),
                  fmt::format("use 1 to {} past tokens", most));
  }
  bench.engine.context = *bench.past_tokens + steps;
}

std::vector<OrderedRow> run_decode_bench(const ModelFiles& files, const DecodeBench& bench,
                                         const std::vector<Tier>& tiers,
                                         const std::optional<NvmlDevice>& nvml,
                                         const BenchHooks& hooks) {
  return DecodeRun(files, bench, tiers, nvml, hooks).run();
}

}  // namespace dak
