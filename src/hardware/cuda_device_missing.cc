#include "hardware/cuda_device.h"

namespace dak {

std::vector<CudaDevice> cuda_devices() { return {}; }
std::string no_cuda_reason() { return "this build of dak has no CUDA"; }
CudaBandwidth measure_cuda_bandwidth(int) { return {}; }

}  // namespace dak
