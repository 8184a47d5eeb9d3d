// The GPU's part of `dak probe`: what its kernels and copy engines do with each memory that they
// reach. A build without CUDA has this too; there it throws kUnsupported.
#pragma once

#include <functional>
#include <string>

#include "hardware/profile.h"

namespace dak {

// Called before each measurement: what it is, and which share of the probe is over. May throw to
// cancel the probe.
using ProbeProgress = std::function<void(const std::string& what, double share)>;

// Everything but tensor peaks, capacities of `local` and the driver's facts: tiers (local, host,
// one for each GPU whose memory this one reads), links, NUMA nodes, launches. Takes 1 to 2 s, up to
// 8 GiB of the GPU's memory and 256 MiB of the host's (of each NUMA node in turn) and of every
// peer's.
HardwareProfile probe_cuda(int ordinal, const ProbeProgress& progress);

}  // namespace dak
