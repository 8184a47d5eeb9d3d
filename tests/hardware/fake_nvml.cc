// Two GPUs in the order of NVML; only the one at 1B:00.0 answers. It has no power reading.
#include <cstring>

namespace {

int device = 0;
constexpr int kNotFound = 6;

}  // namespace

extern "C" {

int nvmlInit_v2() { return 0; }
int nvmlShutdown() { return 0; }

int nvmlDeviceGetHandleByPciBusId_v2(const char* bus_id, void** handle) {
  if (std::strcmp(bus_id, "00000000:1B:00.0") != 0) return kNotFound;
  *handle = &device;
  return 0;
}

int nvmlDeviceGetTotalEnergyConsumption(void* handle, unsigned long long* millijoules) {
  static unsigned long long energy = 5'000'000'000'000;  // past 32 bits
  *millijoules = energy += 1500;
  return handle == &device ? 0 : kNotFound;
}

int nvmlDeviceGetClockInfo(void*, int type, unsigned* mhz) {
  *mhz = type == 1 ? 1980 : 0;
  return 0;
}

int nvmlSystemGetDriverVersion(char* text, unsigned length) {
  std::strncpy(text, "580.65.06", length);
  return 0;
}

int nvmlDeviceGetUUID(void*, char* text, unsigned length) {
  std::strncpy(text, "GPU-1b", length);
  return 0;
}

int nvmlDeviceGetCurrPcieLinkGeneration(void*, unsigned* generation) {
  *generation = 5;
  return 0;
}

int nvmlDeviceGetCurrPcieLinkWidth(void*, unsigned*) { return kNotFound; }

// Links 0 and 2 are up.
int nvmlDeviceGetNvLinkState(void*, unsigned link, unsigned* active) {
  if (link > 3) return kNotFound;
  *active = link % 2 == 0 ? 1 : 0;
  return 0;
}

int nvmlDeviceGetNvLinkVersion(void*, unsigned link, unsigned* version) {
  *version = link == 0 ? 4 : 0;
  return 0;
}
}
