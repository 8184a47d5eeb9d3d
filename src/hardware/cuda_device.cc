#include "hardware/cuda_device.h"

#include <cuda_runtime_api.h>
#include <fmt/core.h>

#include <memory>

#include "hardware/memory_info.h"
#include "kernels/cuda_check.h"
#include "kernels/device_buffer.h"
#include "kernels/random_fill.h"
#include "kernels/tier_reader.h"
#include "memory_cuda/arenas.h"

namespace dak {
namespace {

constexpr int64_t kLocalProbeBytes = int64_t{2} << 30;  // 0.5 ms a pass: its start and end are 1 %
constexpr int64_t kHostProbeBytes = int64_t{128} << 20;
constexpr int kWarmUps = 100;  // an idle GPU's clocks take some 10 ms to rise
constexpr int kRepeats = 10;
constexpr int kHostReaders = 16;  // thread blocks; more only queue up on the link
constexpr int64_t kPeerProbeBytes = int64_t{512} << 20;  // 1.4 ms over NVLink 4
constexpr int kPeerReaders = 32;

CudaDevice describe(int ordinal) {
  CudaDevice device{.ordinal = ordinal};
  cudaDeviceProp properties{};
  if (const cudaError_t status = cudaGetDeviceProperties(&properties, ordinal);
      status != cudaSuccess) {
    device.unusable = cudaGetErrorString(status);
    return device;
  }
  device.name = properties.name;
  device.pci_bus_id = fmt::format("{:08x}:{:02x}:{:02x}.0", properties.pciDomainID,
                                  properties.pciBusID, properties.pciDeviceID);
  device.kernels =
      kernel_support(built_architectures(), {.major = properties.major, .minor = properties.minor});
  if (!device.kernels.plain) {
    device.unusable = device.kernels.missing;
    return device;
  }
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  cudaError_t status = cudaSetDevice(ordinal);
  if (status == cudaSuccess) status = cudaMemGetInfo(&free_bytes, &total_bytes);
  if (status != cudaSuccess) device.unusable = cudaGetErrorString(status);
  device.free_bytes = static_cast<int64_t>(free_bytes);
  device.total_bytes = static_cast<int64_t>(total_bytes);
  return device;
}

}  // namespace

std::vector<CudaDevice> cuda_devices() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) count = 0;
  int current = 0;  // stays the caller's: describe makes the GPU that it asks current
  const bool known = cudaGetDevice(&current) == cudaSuccess;
  std::vector<CudaDevice> devices;
  devices.reserve(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) devices.push_back(describe(i));
  if (known && count > 1) cudaSetDevice(current);
  cudaGetLastError();  // forget what a query left: an unusable GPU is no error
  return devices;
}

std::string no_cuda_reason() {
  int driver = 0;  // the runtime would call a missing driver too old
  if (cudaDriverGetVersion(&driver) == cudaSuccess && driver == 0) {
    return "there is no NVIDIA driver";
  }
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  cudaGetLastError();
  return status == cudaSuccess ? "there is no GPU" : cudaGetErrorString(status);
}

std::string cuda_architectures() { return built_architectures(); }

CudaBandwidth measure_cuda_bandwidth(int ordinal) {
  cuda_check(cudaSetDevice(ordinal));
  const KernelKind kernels = choose_kernels(KernelKind::kAuto, supported_kernels(ordinal));
  int sm_count = 0;
  cuda_check(cudaDeviceGetAttribute(&sm_count, cudaDevAttrMultiProcessorCount, ordinal));
  CudaBandwidth bandwidth;
  {
    const DeviceBuffer local(kLocalProbeBytes);
    random_fill(local.as(), {.seed = 1, .count = kLocalProbeBytes / 2}, nullptr);
    const TierRead read{.data = local.as(),
                        .size_bytes = kLocalProbeBytes,
                        .thread_blocks = sm_count,
                        .kernels = kernels};
    measure_read_bandwidth(read, kWarmUps);
    bandwidth.local = measure_read_bandwidth(read, kRepeats);
  }
  void* host = nullptr;
  const int64_t host_bytes = probe_bytes(kHostProbeBytes);
  cuda_check(cudaHostAlloc(&host, static_cast<size_t>(host_bytes), cudaHostAllocDefault));
  const std::unique_ptr<void, decltype(&cudaFreeHost)> owner(host, cudaFreeHost);
  bandwidth.host = measure_read_bandwidth({.data = static_cast<std::byte*>(host),
                                           .size_bytes = host_bytes,
                                           .thread_blocks = kHostReaders,
                                           .kernels = kernels},
                                          kRepeats);
  return bandwidth;
}

double measure_peer_bandwidth(int ordinal, int peer) {
  const std::unique_ptr<Arena> arena =
      make_peer_arena({.name = fmt::format("peer:{}", peer), .kind = TierKind::kPeer, .node = peer},
                      ordinal, kPeerProbeBytes);
  std::byte* data = arena->allocate(kPeerProbeBytes);
  arena->fill_random(data, {.seed = 2, .count = kPeerProbeBytes / 2});
  return measure_read_bandwidth(
      {.data = data,
       .size_bytes = kPeerProbeBytes,
       .thread_blocks = kPeerReaders,
       .kernels = choose_kernels(KernelKind::kAuto, supported_kernels(ordinal))},
      kRepeats);
}

}  // namespace dak
