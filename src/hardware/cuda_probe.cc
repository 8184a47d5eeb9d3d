#include "hardware/cuda_probe.h"

#include <cuda_runtime_api.h>
#include <fmt/chrono.h>

#include <algorithm>
#include <array>
#include <ctime>

#include "hardware/cuda_device.h"
#include "hardware/cuda_probe_runs.h"
#include "hardware/memory_info.h"
#include "hardware/nvml.h"
#include "hardware/window_map.h"
#include "kernels/split_schedule.h"
#include "memory/numa.h"
#include "memory_cuda/arenas.h"

namespace dak {
namespace {

constexpr int64_t kRemoteBytes = int64_t{256} << 20;
// Rows and columns of the heat map.
constexpr std::array kReaders{2, 4, 8, 16, 32, 64};
constexpr int64_t kLeastWindow = int64_t{32} << 10;
constexpr int64_t kMostWindow = int64_t{8} << 20;

int attribute(cudaDeviceAttr wanted, int ordinal) {
  int value = 0;
  cuda_check(cudaDeviceGetAttribute(&value, wanted, ordinal));
  return value;
}

// Shares of the probe by how long they take.
class Steps {
 public:
  Steps(const ProbeProgress& progress, int remote_tiers)
      : progress_(progress), total_(2.0 + 4.0 * remote_tiers) {}

  void next(const std::string& what, double weight) {
    if (progress_) progress_(what, done_ / total_);
    done_ += weight;
  }

 private:
  const ProbeProgress& progress_;
  double total_;
  double done_ = 0;
};

class CudaProber {
 public:
  CudaProber(int ordinal, const ProbeProgress& progress)
      : ordinal_(ordinal),
        devices_(cuda_devices()),
        peers_(readable_peers()),
        nvml_(NvmlDevice::open(devices_.at(static_cast<size_t>(ordinal)).pci_bus_id)),
        steps_(progress, 1 + static_cast<int>(peers_.size())) {}

  HardwareProfile run() {
    const CudaDevice& device = devices_.at(static_cast<size_t>(ordinal_));
    HardwareProfile profile{.name = device.name,
                            .device = "cuda",
                            .processor = device.name,
                            .uuid = nvml_ ? nvml_->uuid().value_or("") : "",
                            .driver = nvml_ ? nvml_->driver_version().value_or("") : "",
                            .compute_capability = fmt::format(
                                "{}.{}", attribute(cudaDevAttrComputeCapabilityMajor, ordinal_),
                                attribute(cudaDevAttrComputeCapabilityMinor, ordinal_)),
                            .sm_count = attribute(cudaDevAttrMultiProcessorCount, ordinal_),
                            .sources = {fmt::format("measured by dak probe on {:%Y-%m-%d}",
                                                    fmt::gmtime(std::time(nullptr)))},
                            .peak_flops_per_s = {},
                            .numa_nodes = {},
                            .tiers = {}};
    steps_.next("what kernels read from local and host, a pass", 1);
    const CudaBandwidth passes = measure_cuda_bandwidth(ordinal_);
    steps_.next("local alone, launches", 1);
    ProbeRuns runs(ordinal_);
    profile.launch_overhead_us = runs.launch_us(/*overlap=*/false);
    if (attribute(cudaDevAttrComputeCapabilityMajor, ordinal_) >= 9) {
      profile.launch_overlapped_us = runs.launch_us(/*overlap=*/true);
    }
    profile.tiers.push_back(
        {.name = "local",
         .kind = TierKind::kLocal,
         .node = ordinal_,
         .channel = "HBM",
         .capacity_bytes = std::max<int64_t>(1, device.total_bytes),
         .read_bytes_per_s = passes.local,
         .sustained_bytes_per_s = runs.load({.remote = {}, .readers = 0}).local_bytes_per_s});
    profile.tiers.push_back(host_tier(runs, passes.host));
    for (const int peer : peers_) profile.tiers.push_back(peer_tier(runs, peer));
    profile.numa_nodes = nodes(runs);
    return profile;
  }

 private:
  std::vector<int> readable_peers() const {
    std::vector<int> peers;
    for (const CudaDevice& other : devices_) {
      int readable = 0;
      if (other.ordinal == ordinal_ || !other.unusable.empty()) continue;
      cuda_check(cudaDeviceCanAccessPeer(&readable, ordinal_, other.ordinal));
      if (readable != 0) peers.push_back(other.ordinal);
    }
    return peers;
  }

  TierProfile host_tier(ProbeRuns& runs, double pass_bytes_per_s) {
    TierProfile tier{.name = "host",
                     .kind = TierKind::kHost,
                     .channel = "host link",
                     .capacity_bytes = std::max<int64_t>(1, available_memory_bytes()),
                     .read_bytes_per_s = pass_bytes_per_s};
    const int64_t bytes = probe_bytes(kRemoteBytes);
    const std::unique_ptr<Arena> arena =
        make_pinned_arena({.name = "host", .kind = TierKind::kHost}, ordinal_, bytes);
    measure_remote(runs, {arena->allocate(bytes), bytes}, tier);
    // After the transfers: an idle link trains down.
    if (attribute(cudaDevAttrPageableMemoryAccessUsesHostPageTables, ordinal_) != 0) {
      tier.link = {.kind = "nvlink-c2c", .generation = {}, .width = {}};
    } else if (nvml_) {
      tier.link = {
          .kind = "pcie", .generation = nvml_->pcie_generation(), .width = nvml_->pcie_width()};
    }
    return tier;
  }

  TierProfile peer_tier(ProbeRuns& runs, int peer) {
    const PeerMemory memory(ordinal_, peer, kRemoteBytes);
    TierProfile tier{
        .name = fmt::format("peer:{}", peer),
        .kind = TierKind::kPeer,
        .node = peer,
        .channel = fmt::format("peer link {}", peer),
        .capacity_bytes = std::max<int64_t>(1, devices_.at(static_cast<size_t>(peer)).free_bytes),
        .read_bytes_per_s = runs.pass(memory.bytes())};
    measure_remote(runs, memory.bytes(), tier);
    // Between GPUs, atomics are native over NVLink alone.
    int atomics = 0;
    cuda_check(
        cudaDeviceGetP2PAttribute(&atomics, cudaDevP2PAttrNativeAtomicSupported, ordinal_, peer));
    if (atomics != 0) {
      tier.link = {.kind = "nvlink",
                   .generation = nvml_ ? nvml_->nvlink_version() : std::nullopt,
                   .width = nvml_ ? nvml_->nvlink_count() : std::nullopt};
    } else {
      tier.link = {.kind = "pcie", .generation = {}, .width = {}};
    }
    return tier;
  }

  void measure_remote(ProbeRuns& runs, RemoteMemory memory, TierProfile& tier) {
    steps_.next(tier.name + ": copy engines and writes", 1);
    tier.copy_in_bytes_per_s = runs.copy_in(memory);
    tier.copy_out_bytes_per_s = runs.copy_out(memory);
    tier.write_bytes_per_s = runs.write(memory);
    tier.idle_round_trip_us = runs.idle_round_trip_us(memory);
    for (const int readers : kReaders) {
      if (readers >= runs.sm_count()) break;
      steps_.next(fmt::format("{}: windows of {} readers", tier.name, readers),
                  3.0 / std::ssize(kReaders));
      for (int64_t window = kLeastWindow; window <= kMostWindow; window *= 2) {
        const std::optional<ChunkShape> shape = runs.shape_of(window, readers);
        if (!shape) continue;
        const LoadRates rates = runs.load({.remote = memory, .readers = readers, .shape = *shape});
        tier.window_map.push_back({.window_bytes = window,
                                   .readers = readers,
                                   .remote_bytes_per_s = rates.remote_bytes_per_s,
                                   .local_bytes_per_s = rates.local_bytes_per_s,
                                   .round_trip_us = rates.round_trip_us});
      }
    }
    const std::optional<Knee> knee = knee_of(tier.window_map, readers_for(tier.read_bytes_per_s));
    if (!knee) return;
    tier.least_window_bytes = knee->least_window_bytes;
    tier.most_window_bytes = knee->most_window_bytes;
    tier.local_under_load_bytes_per_s = knee->local_bytes_per_s;
    tier.loaded_round_trip_us = std::max(knee->round_trip_us, *tier.idle_round_trip_us);
  }

  std::vector<NumaNode> nodes(ProbeRuns& runs) {
    std::vector<NumaNode> found;
    const std::vector<NumaMemory> memories = numa_memories();
    const int nearest =
        numa_node_of_pci(devices_.at(static_cast<size_t>(ordinal_)).pci_bus_id.substr(4));
    for (const NumaMemory& memory : memories) {
      NumaNode node{.node = memory.node,
                    .memory_bytes = memory.size_bytes,
                    .nearest = memory.node == nearest || memories.size() == 1};
      if (memories.size() > 1 && memory.size_bytes > kRemoteBytes) {
        steps_.next(fmt::format("NUMA node {}", memory.node), 0);
        const int64_t bytes = probe_bytes(kRemoteBytes);
        const std::unique_ptr<Arena> arena = make_pinned_arena(
            {.name = "host", .kind = TierKind::kHost, .node = memory.node}, ordinal_, bytes);
        node.read_bytes_per_s = runs.pass({arena->allocate(bytes), bytes});
      }
      found.push_back(node);
    }
    return found;
  }

  int ordinal_;
  std::vector<CudaDevice> devices_;
  std::vector<int> peers_;
  std::optional<NvmlDevice> nvml_;
  Steps steps_;
};

}  // namespace

HardwareProfile probe_cuda(int ordinal, const ProbeProgress& progress) {
  return CudaProber(ordinal, progress).run();
}

}  // namespace dak
