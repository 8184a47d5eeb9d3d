// Where a model runs: which backend, which GPU, and with what tiers.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/progress.h"
#include "hardware/cuda_device.h"
#include "kernels/kernel_kind.h"
#include "memory/arena.h"
#include "ops/context.h"
#include "plan/plan.h"

namespace dak {

struct Device {
  Backend backend = Backend::kCpu;
  int ordinal = 0;  // of the GPU
  KernelKind kernels = KernelKind::kAuto;
};

// Kept free of a GPU's memory beside the plan: the CUDA context and its modules.
inline constexpr int64_t kCudaMarginBytes = int64_t{1} << 30;

struct DeviceSelection {
  Device device;  // of a GPU never with KernelKind::kAuto
  std::string
      note;  // for the user, once: what was chosen for him, why, and what it costs; or empty
};

// "auto" (a usable GPU, else the CPU), "cpu", "cuda" or "cuda:N", and the kernels to use there.
// Throws kInvalidArgument for anything else and kUnsupported, with the reason, for a GPU that is
// not there or not usable, for kernels that this build does not have for it, and for kernels asked
// of the CPU.
DeviceSelection select_device(std::string_view text, KernelKind kernels = KernelKind::kAuto);
// The same on a machine with these GPUs.
DeviceSelection select_device(std::string_view text, KernelKind kernels,
                              const std::vector<CudaDevice>& devices);

// The usual tiers of the CPU backend, `local` and `host`: the same DRAM, so one channel. More of
// them, one for each NUMA node, with machine_tiers (engine/tier_choice.h).
// `read_bytes_per_s` as measured.
std::vector<Tier> cpu_tiers(double read_bytes_per_s);

// The tiers of a GPU: its free memory less kCudaMarginBytes, and pinned host memory. Measures their
// bandwidth now.
std::vector<Tier> cuda_tiers(int ordinal);

// Another GPU's memory, which GPU `ordinal` reads: what is free of it less kCudaMarginBytes, for
// that GPU's own context. Measures its bandwidth now. Throws as open_peer (memory_cuda/arenas.h).
Tier peer_tier(int ordinal, int peer);

// Throws kResourceExhausted, before anything is loaded, when the plan exceeds what the device or
// the host has.
void check_memory(const Plan& plan, const Device& device);

// One arena for each of the plan's tiers. Pins what the plan puts in host memory of a GPU, which
// takes a while and is reported to `progress`.
std::vector<std::unique_ptr<Arena>> make_arenas(const Plan& plan, const Device& device,
                                                const ProgressFn& progress = {});

}  // namespace dak
