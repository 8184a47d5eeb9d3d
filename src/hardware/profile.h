// What a machine can do, as plain data: measured by `dak probe`, or written down from public
// sources for machines that are not here (presets.h). The planner reads nothing else of hardware.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"
#include "memory/tier.h"

namespace dak {

// How a remote tier is reached. For people; nothing is computed from it.
struct LinkFacts {
  std::string kind;  // "pcie", "nvlink", "nvlink-c2c"
  std::optional<int64_t> generation;
  std::optional<int64_t> width;  // lanes or links
};

// One cell of the heat map of `dak probe`: both tiers read at once.
struct WindowSample {
  int64_t window_bytes = 0;  // remote reads in flight over the whole GPU
  int64_t readers = 0;       // thread blocks that read the remote tier; the others read local
  double remote_bytes_per_s = 0;
  double local_bytes_per_s = 0;
  double round_trip_us = 0;  // mean of a remote chunk

  bool operator==(const WindowSample&) const = default;
};

// Rates are in bytes per second. What was not measured or is not published is absent.
struct TierProfile {
  std::string name;  // as in a plan: "local", "host", "peer:1"
  TierKind kind = TierKind::kLocal;
  int node = -1;               // NUMA node or GPU ordinal; -1: any
  std::string channel;         // tiers on one channel share its bandwidth
  int64_t capacity_bytes = 0;  // what dak may use of it
  // By kernels, nothing else running: one pass over some GB, its start and end included, as plans
  // and benchmarks measure it when they begin.
  double read_bytes_per_s = 0;
  std::optional<double> sustained_bytes_per_s;  // the same without start and end
  std::optional<double> write_bytes_per_s;      // stores by kernels
  std::optional<double> copy_in_bytes_per_s;    // copy engine, from here into the local tier
  std::optional<double> copy_out_bytes_per_s;
  // Of one chunk: alone, and in the smallest window that fills the link.
  std::optional<double> idle_round_trip_us;
  std::optional<double> loaded_round_trip_us;
  // The knee: from least_window on the link is full, past most_window the local tier loses speed.
  std::optional<int64_t> least_window_bytes;
  std::optional<int64_t> most_window_bytes;
  // What kernels still read of the local tier, sustained, while this one is read at full speed.
  std::optional<double> local_under_load_bytes_per_s;
  std::vector<WindowSample> window_map;  // may be empty
  std::optional<LinkFacts> link;
};

// Host memory by where it lies.
struct NumaNode {
  int node = 0;
  int64_t memory_bytes = 0;
  bool nearest = false;                    // to the GPU
  std::optional<double> read_bytes_per_s;  // by its kernels; absent: the only node, or not measured
};

// What the CPU backend's operations take beside the bytes and the arithmetic: measured on small
// ones (engine/cpu_costs.h), used by the cost model.
struct CpuCosts {
  double product_local_share = 1;    // of read_bytes_per_s that large products reach
  double product_fixed_us = 0;       // each product
  double attention_local_share = 1;  // of read_bytes_per_s that long contexts reach
  double attention_fixed_us = 0;     // a layer, with the heads before it
  double norm_us = 0;                // each of two a layer
  double pass_us = 0;                // a pass
};

struct HardwareProfile {
  std::string name;                          // of a preset, or of the processor
  std::string device;                        // "cuda" or "cpu"
  std::string processor;                     // as its driver or /proc/cpuinfo names it
  std::string uuid;                          // of the GPU; empty: none, or not of one machine
  std::string driver;                        // empty: as above
  std::string compute_capability;            // "9.0"; empty: not a GPU, or not known
  std::optional<int64_t> sm_count;           // CPU: threads
  std::vector<std::string> sources;          // "what: where it is from", or when it was measured
  std::map<DType, double> peak_flops_per_s;  // dense, by type of the weights
  double launch_overhead_us = 0;             // of one kernel in a graph; CPU: of one parallel loop
  std::optional<double> launch_overlapped_us;  // the same with programmatic dependent launch
  std::vector<NumaNode> numa_nodes;            // may be empty
  std::optional<CpuCosts> cpu_costs;           // CPU; absent: not measured
  std::vector<TierProfile> tiers;              // [0] local

  // In the order of `tiers`, as plans take them.
  std::vector<Tier> plan_tiers() const;
  // The type's own peak, else bf16's: all 16-bit types run alike, and f32 is refused or slow. 0:
  // not known.
  double peak_of(DType dtype) const;
};

inline constexpr int64_t kProfileVersion = 2;

void to_json(nlohmann::json& json, const HardwareProfile& profile);

// Throws kCorrupt or kUnsupported naming `where`, the field and its value: another format or
// version, a member that is not known, a number that cannot be.
HardwareProfile parse_profile(const nlohmann::json& json, std::string_view where);
HardwareProfile load_profile(const std::filesystem::path& path);

}  // namespace dak
