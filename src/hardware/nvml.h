// What NVIDIA's management library knows of a GPU: energy, clocks, its PCIe link, the driver. The
// library is opened at run time: a machine without it, or without a driver, just has no answers.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace dak {

// Each answer is nullopt when the library, the GPU or its driver does not give it.
class NvmlDevice {
 public:
  // The GPU at a PCI bus id ("00000000:1B:00.0"): CUDA and NVML number GPUs differently. nullopt
  // without the library, a driver or such a GPU. `library` is for tests.
  static std::optional<NvmlDevice> open(const std::string& pci_bus_id,
                                        const char* library = "libnvidia-ml.so.1");

  std::optional<double> energy_j() const;  // since the driver was loaded; refreshed every 20-100 ms
  std::optional<double> power_w() const;   // mean over the last second on recent GPUs
  std::optional<int64_t> sm_clock_mhz() const;
  std::optional<std::string> driver_version() const;
  std::optional<std::string> uuid() const;  // "GPU-..."
  // As they are now: an idle link may train down.
  std::optional<int64_t> pcie_generation() const;
  std::optional<int64_t> pcie_width() const;
  std::optional<int64_t> nvlink_count() const;    // active links; nullopt: none
  std::optional<int64_t> nvlink_version() const;  // of the first active one, as NVML counts

 private:
  struct Library;
  NvmlDevice(std::shared_ptr<const Library> library, void* handle)
      : library_(std::move(library)), handle_(handle) {}

  std::shared_ptr<const Library> library_;
  void* handle_;
};

}  // namespace dak
