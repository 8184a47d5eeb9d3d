// The CPU backend's part of `dak probe`.
#pragma once

#include "base/thread_pool.h"
#include "hardware/cuda_probe.h"
#include "hardware/profile.h"

namespace dak {

// Name, latency, peaks and bandwidth; about 2 s.
HardwareProfile probe_cpu(ThreadPool& pool, const ProbeProgress& progress = {});

// "model name" of /proc/cpuinfo, or the machine's architecture.
std::string cpu_name();

}  // namespace dak
