#include "hardware/nvml.h"

#include <dlfcn.h>

#include <array>

namespace dak {
namespace {

// The few declarations of nvml.h that are needed; its ABI is stable.
using Status = int;  // 0: success
constexpr int kSmClock = 1;
constexpr double kMilli = 1e-3;
constexpr unsigned kMostNvlinks = 64;  // past what any GPU has

template <typename Function>
void load(void* library, const char* symbol, Function*& function) {
  function = reinterpret_cast<Function*>(dlsym(library, symbol));
}

std::optional<int64_t> ask(Status (*function)(void*, unsigned*), void* handle) {
  unsigned value = 0;
  if (function == nullptr || function(handle, &value) != 0) return std::nullopt;
  return value;
}

// An active link's number; nullopt past the last one.
template <typename State>
std::optional<unsigned> next_nvlink(State state, void* handle, unsigned from) {
  if (state == nullptr) return std::nullopt;
  for (unsigned link = from; link < kMostNvlinks; ++link) {
    unsigned active = 0;
    if (state(handle, link, &active) == 0 && active != 0) return link;
  }
  return std::nullopt;
}

}  // namespace

struct NvmlDevice::Library {
  explicit Library(const char* file) : library(dlopen(file, RTLD_NOW | RTLD_LOCAL)) {
    if (library == nullptr) return;
    load(library, "nvmlInit_v2", init);
    load(library, "nvmlShutdown", shutdown);
    load(library, "nvmlDeviceGetHandleByPciBusId_v2", handle_by_pci);
    load(library, "nvmlDeviceGetTotalEnergyConsumption", energy);
    load(library, "nvmlDeviceGetPowerUsage", power);
    load(library, "nvmlDeviceGetClockInfo", clock);
    load(library, "nvmlSystemGetDriverVersion", driver);
    load(library, "nvmlDeviceGetUUID", uuid);
    load(library, "nvmlDeviceGetCurrPcieLinkGeneration", generation);
    load(library, "nvmlDeviceGetCurrPcieLinkWidth", width);
    load(library, "nvmlDeviceGetNvLinkState", nvlink_state);
    load(library, "nvmlDeviceGetNvLinkVersion", nvlink_version);
    usable = init != nullptr && handle_by_pci != nullptr && init() == 0;
  }
  ~Library() {
    if (usable && shutdown != nullptr) shutdown();
    if (library != nullptr) dlclose(library);
  }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  void* library;
  bool usable = false;
  Status (*init)() = nullptr;
  Status (*shutdown)() = nullptr;
  Status (*handle_by_pci)(const char*, void**) = nullptr;
  Status (*energy)(void*, unsigned long long*) = nullptr;  // mJ
  Status (*power)(void*, unsigned*) = nullptr;             // mW
  Status (*clock)(void*, int, unsigned*) = nullptr;        // MHz
  Status (*driver)(char*, unsigned) = nullptr;
  Status (*uuid)(void*, char*, unsigned) = nullptr;
  Status (*generation)(void*, unsigned*) = nullptr;
  Status (*width)(void*, unsigned*) = nullptr;
  Status (*nvlink_state)(void*, unsigned link, unsigned*) = nullptr;
  Status (*nvlink_version)(void*, unsigned link, unsigned*) = nullptr;
};

std::optional<NvmlDevice> NvmlDevice::open(const std::string& pci_bus_id, const char* library) {
  auto opened = std::make_shared<const Library>(library);
  void* handle = nullptr;
  if (!opened->usable || opened->handle_by_pci(pci_bus_id.c_str(), &handle) != 0) {
    return std::nullopt;
  }
  return NvmlDevice(std::move(opened), handle);
}

std::optional<double> NvmlDevice::energy_j() const {
  unsigned long long millijoules = 0;
  if (library_->energy == nullptr || library_->energy(handle_, &millijoules) != 0) {
    return std::nullopt;
  }
  return static_cast<double>(millijoules) * kMilli;
}

std::optional<double> NvmlDevice::power_w() const {
  const std::optional<int64_t> milliwatts = ask(library_->power, handle_);
  if (!milliwatts) return std::nullopt;
  return static_cast<double>(*milliwatts) * kMilli;
}

std::optional<int64_t> NvmlDevice::sm_clock_mhz() const {
  unsigned mhz = 0;
  if (library_->clock == nullptr || library_->clock(handle_, kSmClock, &mhz) != 0) {
    return std::nullopt;
  }
  return mhz;
}

std::optional<std::string> NvmlDevice::driver_version() const {
  std::array<char, 96> text{};
  if (library_->driver == nullptr || library_->driver(text.data(), text.size() - 1) != 0) {
    return std::nullopt;
  }
  return std::string(text.data());
}

std::optional<std::string> NvmlDevice::uuid() const {
  std::array<char, 96> text{};
  if (library_->uuid == nullptr || library_->uuid(handle_, text.data(), text.size() - 1) != 0) {
    return std::nullopt;
  }
  return std::string(text.data());
}

std::optional<int64_t> NvmlDevice::pcie_generation() const {
  return ask(library_->generation, handle_);
}

std::optional<int64_t> NvmlDevice::pcie_width() const { return ask(library_->width, handle_); }

std::optional<int64_t> NvmlDevice::nvlink_count() const {
  int64_t count = 0;
  for (auto link = next_nvlink(library_->nvlink_state, handle_, 0); link;
       link = next_nvlink(library_->nvlink_state, handle_, *link + 1)) {
    ++count;
  }
  return count > 0 ? std::optional(count) : std::nullopt;
}

std::optional<int64_t> NvmlDevice::nvlink_version() const {
  const auto link = next_nvlink(library_->nvlink_state, handle_, 0);
  unsigned version = 0;
  if (!link || library_->nvlink_version == nullptr ||
      library_->nvlink_version(handle_, *link, &version) != 0) {
    return std::nullopt;
  }
  return version;
}

}  // namespace dak
