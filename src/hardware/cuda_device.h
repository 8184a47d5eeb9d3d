// The GPUs of this machine. A build without CUDA has these functions too and finds none.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dak {

struct CudaDevice {
  int ordinal = 0;
  std::string name;
  std::string pci_bus_id;  // "00000000:1b:00.0", as NVML and lspci name it
  int64_t total_bytes = 0;
  int64_t free_bytes = 0;
  std::string unusable;  // why dak cannot use it; empty: it can
};

std::vector<CudaDevice> cuda_devices();

// Why cuda_devices() is empty: no driver, no GPU, or a build without CUDA.
std::string no_cuda_reason();

// Bytes per second that kernels of GPU `ordinal` read, from its own memory and from pinned memory
// of the host; measured now, in about 0.1 s.
struct CudaBandwidth {
  double local = 0;
  double host = 0;
};
CudaBandwidth measure_cuda_bandwidth(int ordinal);

}  // namespace dak
