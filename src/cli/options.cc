#include "cli/options.h"

#include <CLI/CLI.hpp>

#include "base/error.h"
#include "base/numbers.h"
#include "base/units.h"
#include "cli/flags.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "engine/probe.h"
#include "hardware/memory_info.h"
#include "hardware/read_bandwidth.h"

namespace dak {
namespace {

constexpr int kMostThreads = 4096;
constexpr int64_t kProbeBytes = int64_t{256} << 20;  // past the last-level cache

}  // namespace

void check_threads(int threads) {
  if (threads < 0 || threads > kMostThreads) {
    throw_invalid("--threads", {}, std::to_string(threads),
                  fmt::format("is outside 1 to {}", kMostThreads));
  }
}

void PlacementFlags::add_kernels_to(CLI::App& app) {
  app.add_option(
      "--kernels", kernels,
      "On a GPU: auto (default: tma if GPU and build have it), tma (H100, H200) or plain "
      "(compute capability 8.0 and above; no window)");
}

void PlacementFlags::add_tiers_to(CLI::App& app, bool local_size) {
  local_size_ = local_size;
  auto* host = as_size(
      app.add_option("--host-budget", host_budget,
                     "Most host memory to use (default: what is available); what-ifs for `plan`"));
  auto* list =
      app.add_option("--tiers", tiers,
                     "Memories to use, each with the most to use of it: "
                     "local=40GiB,peer:1=60GiB,host=100GiB (default: local,host); peer:GPU "
                     "is another GPU's memory, host:NODE a NUMA node's; without a size: what is "
                     "free")
          ->type_name("TIER=SIZE,...");
  list->excludes(host);
}

void PlacementFlags::add_to(CLI::App& app, bool lists) {
  app.option_defaults()->group("Placement");
  app.add_option("--device", device,
                 "auto (default: a GPU if there is one that dak can use, else the CPU), cpu, cuda "
                 "or cuda:N");
  add_kernels_to(app);
  auto* budget = app.add_option("--local-budget,--hbm-budget", local_budget,
                                "Most memory to use in the local tier, e.g. 24GiB; the rest of the "
                                "weights goes to the remote tiers");
  lists ? budget->type_name(kSizeList) : as_size(budget);
  app.add_option("--offload-ratio", offload_ratio,
                 "Share of every weight to keep in remote tiers, 0 to 1, instead of a budget")
      ->excludes(budget);
  app.add_option(
      "--kv-ratio", kv_ratio,
      "Share of the KV cache to keep in remote tiers, 0 to 1: new tokens stay local, the "
      "oldest leave");
  add_tiers_to(app, /*local_size=*/true);
  app.add_option(
      "--placement", policy,
      "greedy: what costs least by the cost model leaves the local tier (default under a "
      "budget); uniform: the same share of every weight (default with a ratio)");
  as_tokens(app.add_option("--context", context,
                           "Tokens of context to make room for, e.g. 8k (default: the model's, at "
                           "most 8192)"));
  app.add_option("--dtype", dtype,
                 "Type to hold weights in: f32, f16, bf16 (default: as stored; bf16 if quantised)");
  app.add_option("--kv-dtype", kv_dtype,
                 "Type of the KV cache: f32, f16, bf16 (default: the weights')");
  app.add_option("--threads", threads, "CPU threads (default: all this process may use)");
  app.add_option("--mode", mode,
                 "How weights in host memory are read: direct (default), prefetch, uva; resident: "
                 "there are none");
  as_size(app.add_option(
      "--window", window,
      "Bytes of remote reads in flight, fixed, e.g. 256KiB (default: adapts itself)"));
  app.add_flag("--synthetic{0}", synthetic_seed,
               "Weights from a generator, --synthetic=SEED for others; a config.json is enough; "
               "for measurements");
  app.add_flag("--check-weights", check_weights, "Refuse weights that are NaN or infinite");
  app.option_defaults()->group("Options");
}

// A size of `local` is its budget.
void PlacementFlags::take_local_size(EngineOptions& options) const {
  for (const TierChoice& choice : options.tiers) {
    if (choice.kind != TierKind::kLocal || !choice.size_bytes) continue;
    const auto refuse = [&](std::string_view problem, std::string_view fix) {
      throw_invalid("--tiers", {}, tiers, problem, fix);
    };
    if (!local_size_) {
      refuse("gives local a size, and the cells of the bench have budgets of their own",
             "write local, and use --hbm-budget");
    }
    if (!local_budget.empty()) {
      refuse("gives local a size, and --local-budget another", "omit one of the two");
    }
    if (offload_ratio != -1) {
      refuse("gives local a size, and --offload-ratio says how much of the weights is not there",
             "omit one of the two");
    }
    options.local_budget_bytes = choice.size_bytes;
  }
}

EngineOptions PlacementFlags::options() const {
  EngineOptions options;
  if (!local_budget.empty()) {
    options.local_budget_bytes = parse_bytes(local_budget, "--local-budget");
  }
  if (!host_budget.empty()) options.host_budget_bytes = parse_bytes(host_budget, "--host-budget");
  if (!tiers.empty()) options.tiers = parse_tiers(tiers, "--tiers");
  take_local_size(options);
  if (offload_ratio != -1) {
    if (!(offload_ratio >= 0 && offload_ratio <= 1)) {
      throw_invalid("--offload-ratio", {}, fmt::format("{}", offload_ratio), "is outside 0 to 1",
                    "0 keeps every weight local, 1 none");
    }
    options.offload_ratio = offload_ratio;
  }
  check_threads(threads);
  options.kv_ratio = kv_ratio;
  options.threads = threads;
  if (!policy.empty()) options.placement = parse_placement_policy(policy, "--placement");
  options.context = context;
  if (!dtype.empty()) options.dtype = parse_compute_dtype(dtype, "--dtype");
  if (!kv_dtype.empty()) options.kv_dtype = parse_compute_dtype(kv_dtype, "--kv-dtype");
  if (!mode.empty()) options.mode = parse_access_mode(mode, "--mode");
  if (!window.empty()) options.window_bytes = parse_bytes(window, "--window");
  if (!synthetic_seed.empty())
    options.synthetic_seed = parse_unsigned(synthetic_seed, "--synthetic");
  if (options.synthetic_seed && check_weights) {
    throw_invalid("--check-weights", {}, {}, "has no effect with --synthetic",
                  "omit one of the two");
  }
  options.check_finite = check_weights;
  DeviceSelection selection = select_device(device, parse_kernel_kind(kernels, "--kernels"));
  options.device = selection.device;
  if (!selection.note.empty()) print_err("dak: {}\n", selection.note);
  return options;
}

std::string add_known_hardware(EngineOptions& options, const std::vector<Tier>& tiers) {
  ProbeLine line;
  KnownHardware known = known_hardware(
      options.device, options.threads, tiers,
      [](const std::string& text) { print_err("dak: {}\n", text); },
      [&line](const std::string& what, double share) { line.show(what, share); });
  options.hardware = std::move(known.profile);
  return known.origin;
}

std::vector<Tier> probe_tiers(const EngineOptions& options) {
  if (options.device.backend == Backend::kCuda) {
    return machine_tiers(options.tiers, options.device, cuda_tiers(options.device.ordinal));
  }
  ThreadPool pool(options.threads);
  return machine_tiers(options.tiers, options.device,
                       cpu_tiers(measure_read_bandwidth(pool, probe_bytes(kProbeBytes))));
}

void SamplingFlags::add_to(CLI::App& app, const SamplingParams& otherwise) {
  otherwise_ = otherwise;
  max_tokens_option_ = as_tokens(app.add_option(
      "-n,--max-tokens", max_tokens_,
      "Most tokens to generate (default: the model's max_new_tokens, else 0: until the context is "
      "full)"));
  app.option_defaults()->group("Sampling");
  const auto add = [&](const char* name, float SamplingParams::*field, const std::string& help) {
    reals_.push_back({app.add_option(name, given_.*field, help), field});
  };
  add("--temperature", &SamplingParams::temperature,
      fmt::format("0 always takes the most likely token (default: the model's, else {})",
                  otherwise.temperature));
  top_k_ = app.add_option("--top-k", given_.top_k,
                          "Draw from the K most likely tokens; 0: off (default: the model's, "
                          "else 0)");
  add("--top-p", &SamplingParams::top_p,
      "Draw from the most likely tokens that hold this much probability (default: the model's, "
      "else 1)");
  add("--min-p", &SamplingParams::min_p,
      "Drop tokens below this share of the most likely one's probability (default: the model's, "
      "else 0)");
  add("--repetition-penalty", &SamplingParams::repetition_penalty,
      "Above 1 makes tokens already seen less likely (default: the model's, else 1)");
  add("--presence-penalty", &SamplingParams::presence_penalty,
      "Subtracted once from tokens already generated");
  add("--frequency-penalty", &SamplingParams::frequency_penalty,
      "Subtracted from a token for each time it was generated");
  app.add_flag("--no-model-defaults", no_model_defaults_,
               "Leave the model's generation_config.json (or general.sampling of a GGUF) out");
  app.option_defaults()->group("Options");
}

void SamplingFlags::add_seed_to(CLI::App& app) {
  seed_ = app.add_option("--seed", given_.seed,
                         "Seed of the draw (default: a new one each run, printed)")
              ->group("Sampling");
}

bool SamplingFlags::seed_given() const { return seed_ != nullptr && seed_->count() > 0; }

SamplingParams SamplingFlags::params(const SamplingDefaults& of_model) const {
  SamplingParams params = otherwise_;
  const auto take = [](const auto& value, auto& field) {
    if (value) field = *value;
  };
  if (!no_model_defaults_) {
    take(of_model.temperature, params.temperature);
    take(of_model.top_k, params.top_k);
    take(of_model.top_p, params.top_p);
    take(of_model.min_p, params.min_p);
    take(of_model.repetition_penalty, params.repetition_penalty);
  }
  for (const Real& one : reals_) {
    if (one.option->count() > 0) params.*one.field = given_.*one.field;
  }
  if (top_k_->count() > 0) params.top_k = given_.top_k;
  params.seed = given_.seed;
  params.validate();
  return params;
}

int64_t SamplingFlags::max_tokens(const SamplingDefaults& of_model) const {
  if (max_tokens_option_->count() > 0 || no_model_defaults_) return max_tokens_;
  return of_model.max_tokens.value_or(0);
}

}  // namespace dak
