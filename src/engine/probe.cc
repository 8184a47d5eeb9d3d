#include "engine/probe.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "engine/cpu_costs.h"
#include "engine/cpu_probe.h"
#include "engine/model_costs.h"
#include "hardware/cuda_device.h"
#include "hardware/nvml.h"
#include "hardware/presets.h"
#include "ops/tensor_peak.h"

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

HardwareProfile probe_gpu(int ordinal, const ProbeProgress& progress) {
  HardwareProfile profile = probe_cuda(ordinal, progress);
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    if (progress) progress(fmt::format("tensor peak of {}", name(dtype)), 0.95);
    const std::optional<double> peak = measure_tensor_peak(ordinal, dtype);
    if (peak) profile.peak_flops_per_s[dtype] = *peak;
  }
  if (!profile.peak_flops_per_s.empty()) {
    profile.sources.emplace_back("tensor peaks: cuBLASLt, a product of 8192 x 8192 x 8192");
    return profile;
  }
  const PresetText* preset = preset_of_processor(profile.processor);
  if (preset == nullptr) {
    throw_unsupported("dak probe", "GPU", profile.processor,
                      "has no preset to take its tensor peak from, and cuBLASLt is not installed",
                      fmt::format("install cuBLAS; GPUs with presets: {}", preset_names()));
  }
  profile.peak_flops_per_s = hardware_named(preset->name).peak_flops_per_s;
  profile.sources.push_back(fmt::format(
      "tensor peaks: preset {}, a data sheet's, for cuBLASLt is not installed", preset->name));
  return profile;
}

// Planning goes on without a profile where the device is too busy for a probe or the cache cannot
// be written.
std::optional<HardwareProfile> probe_again(const Device& device, int threads, const ProfileKey& key,
                                           const std::function<void(const std::string&)>& note,
                                           const ProbeProgress& progress) {
  std::optional<HardwareProfile> profile;
  try {
    profile = probe_hardware(device, threads, progress);
    save_profile(*profile, profile_cache_file(key));
  } catch (const Error& error) {
    note(error.what());
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

HardwareProfile probe_hardware(const Device& device, int threads, const ProbeProgress& progress) {
  if (device.backend == Backend::kCuda) return probe_gpu(device.ordinal, progress);
  ThreadPool pool(threads);
  return probe_cpu(pool, progress);
}

KnownHardware known_hardware(const Device& device, int threads, const std::vector<Tier>& tiers,
                             const std::function<void(const std::string&)>& note,
                             const ProbeProgress& progress) {
  const ProfileKey key = profile_key(device, threads);
  CachedProfile cached = load_cached_profile(key);
  if (!cached.note.empty()) {
    note(cached.note + "; measuring again, as dak probe does");
    cached.profile = probe_again(device, threads, key, note, progress);
  }
  if (cached.profile) {
    return {
        .profile = std::move(*cached.profile),
        .origin = fmt::format("this machine (dak probe, {})", profile_cache_file(key).string())};
  }
  const bool cuda = device.backend == Backend::kCuda;
  if (const PresetText* preset = cuda ? preset_of_processor(key.processor) : nullptr) {
    return {.profile = hardware_named(preset->name),
            .origin = fmt::format("this machine (preset {})", preset->name)};
  }
  KnownHardware known{.profile = profile_of_tiers(tiers, cuda),
                      .origin = "this machine (not probed)"};
  if (!cuda) {
    // What takes longer is dak probe's; without these a small model's prediction is a guess.
    constexpr double kPeakSeconds = 0.03;
    ThreadPool pool(threads);
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      known.profile.peak_flops_per_s[dtype] = measure_cpu_peak(pool, dtype, kPeakSeconds);
    }
    known.profile.cpu_costs = measure_cpu_costs(pool);
    known.profile.sources.emplace_back("arithmetic and small operations: measured now");
  }
  return known;
}

}  // namespace dak
