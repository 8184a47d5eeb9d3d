// The GPUs of this machine. A build without CUDA has these functions too and finds none.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/kernel_kind.h"

namespace dak {

struct CudaDevice {
  int ordinal = 0;
  std::string name;
  std::string pci_bus_id;  // "00000000:1b:00.0", as NVML and lspci name it
  int64_t total_bytes = 0;
  int64_t free_bytes = 0;
  KernelSupport kernels;  // what this build has for it
  std::string unusable;   // why dak cannot use it; empty: it can
};

std::vector<CudaDevice> cuda_devices();

// Why cuda_devices() is empty: no driver, no GPU, or a build without CUDA.
std::string no_cuda_reason();

// What the kernels were compiled for: "90a", "80,90a"; empty in a build without CUDA.
std::string cuda_architectures();

// Bytes per second that kernels of GPU `ordinal` read, from its own memory and from pinned memory
// of the host: bulk copies if it has them, whatever kernels are in use. Measured now, in about
// 0.1 s.
struct CudaBandwidth {
  double local = 0;
  double host = 0;
};
CudaBandwidth measure_cuda_bandwidth(int ordinal);
// The same from memory of GPU `peer`. Throws as open_peer (memory_cuda/arenas.h).
double measure_peer_bandwidth(int ordinal, int peer);

}  // namespace dak
