// What this machine can do: measured now, or known from an earlier `dak probe`.
#pragma once

#include <string>
#include <vector>

#include "engine/device.h"
#include "hardware/cuda_probe.h"
#include "hardware/profile.h"
#include "hardware/profile_cache.h"

namespace dak {

// What a profile of the device must be of. `threads`: of the CPU backend; 0: all this process may
// use.
ProfileKey profile_key(const Device& device, int threads);

// Measures the device. CPU: the bandwidth of a read loop, latency, arithmetic, the start of a
// parallel loop; about 2 s. GPU: all that hardware/cuda_probe.h says and its tensor peaks; 3 to 5
// s. Without cuBLASLt the peaks are those of the GPU's preset, and the profile's sources say so;
// throws kUnsupported where there is none either. `progress` may throw to cancel.
HardwareProfile probe_hardware(const Device& device, int threads,
                               const ProbeProgress& progress = {});

struct KnownHardware {
  HardwareProfile profile;
  std::string origin;  // for people: "this machine (dak probe, FILE)"
};

// The cached profile of this device and driver. One that is stale, foreign or damaged is said
// through `note`, measured again and replaced. Where nothing is cached: the preset of the GPU's
// name; else `tiers` alone, whose bandwidths are measured.
KnownHardware known_hardware(const Device& device, int threads, const std::vector<Tier>& tiers,
                             const std::function<void(const std::string&)>& note,
                             const ProbeProgress& progress = {});

}  // namespace dak
