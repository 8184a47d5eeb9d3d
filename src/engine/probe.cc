#include "engine/probe.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "engine/cpu_probe.h"
#include "engine/model_costs.h"
#include "hardware/cuda_device.h"
#include "hardware/nvml.h"
#include "hardware/presets.h"

namespace dak {
namespace {

// A GPU as its driver and NVML name it.
struct GpuFacts {
  CudaDevice device;
  std::string uuid;
  std::string driver;
};

GpuFacts facts_of(int ordinal) {
  GpuFacts facts{
      .device = cuda_devices().at(static_cast<size_t>(ordinal)), .uuid = {}, .driver = {}};
  const std::optional<NvmlDevice> nvml = NvmlDevice::open(facts.device.pci_bus_id);
  if (!nvml) return facts;
  facts.uuid = nvml->uuid().value_or("");
  facts.driver = nvml->driver_version().value_or("");
  return facts;
}

HardwareProfile probe_gpu(int ordinal) {
  const GpuFacts facts = facts_of(ordinal);
  const PresetText* preset = preset_of_processor(facts.device.name);
  if (preset == nullptr) {
    throw_unsupported("dak probe", "GPU", facts.device.name,
                      "has no preset, and not everything is measured yet",
                      fmt::format("GPUs with presets: {}", preset_names()));
  }
  HardwareProfile profile = hardware_named(preset->name);
  profile.name = facts.device.name;
  profile.uuid = facts.uuid;
  profile.driver = facts.driver;
  profile.sources.insert(profile.sources.begin(),
                         "capacities and what kernels read alone: measured by dak probe; all else "
                         "is the preset's, whose sources follow");
  for (const Tier& measured : cuda_tiers(ordinal)) {
    for (TierProfile& tier : profile.tiers) {
      if (tier.name != measured.name) continue;
      // Kept of the local bandwidth under load: the preset's share.
      tier.capacity_bytes = measured.capacity_bytes;
      tier.node = measured.node;
      tier.channel = measured.channel;
      const double scale = measured.read_bytes_per_s / tier.read_bytes_per_s;
      tier.read_bytes_per_s = measured.read_bytes_per_s;
      if (tier.kind != TierKind::kLocal) continue;
      for (TierProfile& remote : profile.tiers) {
        if (remote.local_under_load_bytes_per_s) *remote.local_under_load_bytes_per_s *= scale;
      }
    }
  }
  return profile;
}

}  // namespace

ProfileKey profile_key(const Device& device, int threads) {
  if (device.backend == Backend::kCpu) {
    return {.device = "cpu",
            .processor = cpu_name(),
            .uuid = {},
            .driver = {},
            .threads = threads > 0 ? threads : usable_cpus()};
  }
  const GpuFacts facts = facts_of(device.ordinal);
  return {
      .device = "cuda", .processor = facts.device.name, .uuid = facts.uuid, .driver = facts.driver};
}

HardwareProfile probe_hardware(const Device& device, int threads) {
  if (device.backend == Backend::kCuda) return probe_gpu(device.ordinal);
  ThreadPool pool(threads);
  return probe_cpu(pool);
}

KnownHardware known_hardware(const Device& device, int threads, const std::vector<Tier>& tiers) {
  const ProfileKey key = profile_key(device, threads);
  CachedProfile cached = load_cached_profile(key);
  if (cached.profile) {
    return {.profile = std::move(*cached.profile),
            .origin = fmt::format("this machine (dak probe, {})", profile_cache_file(key).string()),
            .note = {}};
  }
  if (!cached.note.empty()) cached.note += "; it is not used, measure again with dak probe";
  const bool cuda = device.backend == Backend::kCuda;
  if (const PresetText* preset = cuda ? preset_of_processor(key.processor) : nullptr) {
    return {.profile = hardware_named(preset->name),
            .origin = fmt::format("this machine (preset {})", preset->name),
            .note = std::move(cached.note)};
  }
  return {.profile = profile_of_tiers(tiers, cuda),
          .origin = "this machine (not probed)",
          .note = std::move(cached.note)};
}

}  // namespace dak
