// Flags that several commands share.
#pragma once

#include <string>
#include <vector>

#include "engine/engine.h"

// CLI11 takes seconds to compile: only what parses flags includes it.
namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace dak {

struct PlacementFlags {
  std::string device = "auto";
  std::string kernels = "auto";
  std::string local_budget;
  std::string host_budget;
  std::string tiers;
  double offload_ratio = -1;
  std::string policy;  // --placement
  double kv_ratio = 0;
  int64_t context = 0;
  std::string dtype;
  std::string kv_dtype;
  std::string mode;
  std::string window;
  std::string synthetic_seed;  // empty: weights from the files
  int threads = 0;
  bool check_weights = false;

  // `lists`: the command reads lists of --local-budget and --placement itself.
  void add_to(CLI::App& app, bool lists = false);
  // For commands that do not take all of them.
  void add_kernels_to(CLI::App& app);
  // `local_size`: whether the list may give local one, which is its budget.
  void add_tiers_to(CLI::App& app, bool local_size);
  // Chooses the device and its kernels too, and says on stderr what was chosen for the user.
  EngineOptions options() const;

 private:
  void take_local_size(EngineOptions& options) const;

  bool local_size_ = false;
};

// Throws kInvalidArgument for a number of threads that cannot be.
void check_threads(int threads);

// Fills options.hardware with what is known of the device; returns where that is from. A
// profile that is stale or foreign is said on stderr and measured again.
std::string add_known_hardware(EngineOptions& options, const std::vector<Tier>& tiers);

// The device's tiers with their bandwidth, measured now (about 0.2 s).
std::vector<Tier> probe_tiers(const EngineOptions& options);

// How tokens are drawn: flags, where they are given, then the model's own defaults, then dak's.
class SamplingFlags {
 public:
  // `otherwise`: dak's.
  void add_to(CLI::App& app, const SamplingParams& otherwise);
  void add_seed_to(CLI::App& app);

  // Throws kInvalidArgument naming a flag that is out of range.
  SamplingParams params(const SamplingDefaults& of_model) const;
  // Of an answer; 0: until the context is full.
  int64_t max_tokens(const SamplingDefaults& of_model) const;
  bool seed_given() const;

 private:
  struct Real {
    CLI::Option* option;
    float SamplingParams::*field;
  };

  SamplingParams given_;
  SamplingParams otherwise_;
  int64_t max_tokens_ = 0;
  bool no_model_defaults_ = false;
  std::vector<Real> reals_;
  CLI::Option* top_k_ = nullptr;
  CLI::Option* max_tokens_option_ = nullptr;
  CLI::Option* seed_ = nullptr;
};

}  // namespace dak
