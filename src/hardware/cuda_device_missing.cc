#include <unistd.h>

#include "base/error.h"
#include "hardware/cuda_device.h"
#include "hardware/cuda_probe.h"

namespace dak {

std::vector<CudaDevice> cuda_devices() { return {}; }

std::string no_cuda_reason() {
  const bool has_driver = access("/proc/driver/nvidia/version", F_OK) == 0;
  return has_driver ? "this build of dak has no CUDA, though an NVIDIA driver is here: build it "
                      "where nvcc is"
                    : "this build of dak has no CUDA";
}

std::string cuda_architectures() { return {}; }
CudaBandwidth measure_cuda_bandwidth(int) { return {}; }

double measure_peer_bandwidth(int, int) {
  throw_unsupported("tier peer", {}, "cuda", no_cuda_reason(), "use host tiers");
}

HardwareProfile probe_cuda(int, const ProbeProgress&) {
  throw_unsupported("dak probe", {}, "cuda", no_cuda_reason(), "use --device cpu");
}

}  // namespace dak
