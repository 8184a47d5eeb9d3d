#include "hardware/memory_info.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <string>

namespace dak {
namespace {

std::optional<int64_t> read_number(const char* path) {
  std::ifstream file(path);
  int64_t value = 0;
  if (file >> value && value >= 0) return value;
  return std::nullopt;  // missing, or "max"
}

int64_t machine_available_bytes() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  int64_t kib = 0;
  std::string unit;
  while (file >> key >> kib >> unit) {
    if (key == "MemAvailable:") return kib * 1024;
  }
  return 0;
}

// Page cache that a cgroup has charged is reclaimable, and so not counted as used.
int64_t reclaimable_bytes(const char* stat_path, std::string_view wanted) {
  std::ifstream file(stat_path);
  std::string key;
  int64_t value = 0;
  while (file >> key >> value) {
    if (key == wanted) return value;
  }
  return 0;
}

}  // namespace

int64_t available_memory_bytes() {
  int64_t available = machine_available_bytes();
  const auto limited_by = [&available](std::optional<int64_t> limit, std::optional<int64_t> used,
                                       int64_t reclaimable) {
    if (!limit || !used) return;
    available = std::min(available, std::max<int64_t>(0, *limit - *used + reclaimable));
  };
  limited_by(read_number("/sys/fs/cgroup/memory.max"), read_number("/sys/fs/cgroup/memory.current"),
             reclaimable_bytes("/sys/fs/cgroup/memory.stat", "inactive_file"));
  limited_by(read_number("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
             read_number("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
             reclaimable_bytes("/sys/fs/cgroup/memory/memory.stat", "total_inactive_file"));
  return available;
}

}  // namespace dak
