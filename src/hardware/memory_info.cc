#include "hardware/memory_info.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>

#include "base/cgroup.h"

namespace dak {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kProbeShare = 8;
constexpr int64_t kPageBytes = 4096;

int64_t machine_available_bytes(const fs::path& root) {
  std::ifstream file(root / "proc/meminfo");
  std::string key;
  int64_t kib = 0;
  std::string unit;
  while (file >> key >> kib >> unit) {
    if (key == "MemAvailable:") return kib * 1024;
  }
  return 0;
}

// Page cache that a cgroup has charged is reclaimable, and so not counted as used.
int64_t reclaimable_bytes(const fs::path& stat, std::string_view wanted) {
  std::ifstream file(stat);
  std::string key;
  int64_t value = 0;
  while (file >> key >> value) {
    if (key == wanted) return value;
  }
  return 0;
}

// What the files of a version are called.
struct Names {
  const char* limit;
  const char* soft_limit;  // above it the kernel slows a process down; may be null
  const char* used;
  const char* reclaimable;  // key of memory.stat
};

constexpr Names kVersion1{"memory.limit_in_bytes", nullptr, "memory.usage_in_bytes",
                          "total_inactive_file"};
constexpr Names kVersion2{"memory.max", "memory.high", "memory.current", "inactive_file"};

int64_t left_by(const Names& names, const fs::path& folder, int64_t available) {
  const std::optional<int64_t> used = cgroup_number(folder / names.used);
  if (!used) return available;
  const int64_t kept = *used - reclaimable_bytes(folder / "memory.stat", names.reclaimable);
  for (const char* name : {names.limit, names.soft_limit}) {
    if (name == nullptr) continue;
    const std::optional<int64_t> limit = cgroup_number(folder / name);
    if (limit) available = std::min(available, std::max<int64_t>(0, *limit - kept));
  }
  return available;
}

// "32768K", as sysfs has the sizes of caches.
int64_t cache_bytes(const std::string& index) {
  std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index" + index + "/size");
  int64_t kib = 0;
  char unit = 0;
  return file >> kib >> unit && unit == 'K' ? kib * 1024 : 0;
}

}  // namespace

int64_t last_level_cache_bytes() {
  int64_t most = 0;
  for (const char* index : {"0", "1", "2", "3", "4"}) most = std::max(most, cache_bytes(index));
  return most;
}

int64_t available_memory_bytes(const fs::path& root) {
  int64_t available = machine_available_bytes(root);
  const CgroupFolders folders = cgroup_folders("memory", root);
  for (const fs::path& folder : folders.v1) available = left_by(kVersion1, folder, available);
  for (const fs::path& folder : folders.v2) available = left_by(kVersion2, folder, available);
  return available;
}

int64_t probe_bytes(int64_t wanted_bytes, int64_t available_bytes) {
  const int64_t share = available_bytes / kProbeShare / kPageBytes * kPageBytes;
  return std::clamp(share, std::min(kPageBytes, wanted_bytes), wanted_bytes);
}

}  // namespace dak
