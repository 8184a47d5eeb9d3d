// What this machine can do: measured now, or known from an earlier `dak probe`.
#pragma once

#include <string>
#include <vector>

#include "engine/device.h"
#include "hardware/profile.h"
#include "hardware/profile_cache.h"

namespace dak {

// What a profile of the device must be of. `threads`: of the CPU backend; 0: all this process may
// use.
ProfileKey profile_key(const Device& device, int threads);

// Measures the device. CPU: the bandwidth of a read loop, latency, arithmetic, the start of a
// parallel loop; about 2 s. GPU: the bandwidths that its kernels read and the facts of its driver;
// the rest is the preset's of the same name, and the profile's sources say so. Throws
// kUnsupported for a GPU without a preset.
HardwareProfile probe_hardware(const Device& device, int threads);

struct KnownHardware {
  HardwareProfile profile;
  std::string origin;  // for people: "this machine (dak probe, FILE)"
  std::string note;    // for the user, once: why a profile that is there is not used; may be empty
};

// The cached profile of this device and driver; else the preset of the GPU's name; else `tiers`
// alone, whose bandwidths are measured.
KnownHardware known_hardware(const Device& device, int threads, const std::vector<Tier>& tiers);

}  // namespace dak
