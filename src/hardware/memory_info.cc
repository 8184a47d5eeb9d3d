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

// A hierarchy of memory cgroups: where it is mounted and what its files are called.
struct CgroupFiles {
  const char* root;
  const char* limit;
  const char* used;
  const char* reclaimable;  // key of memory.stat
};

constexpr CgroupFiles kVersion1{"/sys/fs/cgroup/memory", "memory.limit_in_bytes",
                                "memory.usage_in_bytes", "total_inactive_file"};
constexpr CgroupFiles kVersion2{"/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"};

// What the group at `path` and those above it leave. The root is looked at whatever `path` is: in a
// container it is the container's own group.
int64_t left_by(const CgroupFiles& files, std::string path, int64_t available) {
  while (true) {
    const std::string folder = files.root + path + "/";
    const auto limit = read_number((folder + files.limit).c_str());
    const auto used = read_number((folder + files.used).c_str());
    if (limit && used) {
      const int64_t reclaimable =
          reclaimable_bytes((folder + "memory.stat").c_str(), files.reclaimable);
      available = std::min(available, std::max<int64_t>(0, *limit - *used + reclaimable));
    }
    if (path.empty()) return available;
    path.erase(path.rfind('/'));
  }
}

// Of this process, from lines like "4:memory:/a/b" (version 1) and "0::/a/b" (version 2): "/a/b",
// and "" for the root.
std::string cgroup_path(std::string_view controller) {
  std::ifstream file("/proc/self/cgroup");
  std::string line;
  while (std::getline(file, line)) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string_view path = std::string_view(line).substr(second + 1);
    if (line.substr(first + 1, second - first - 1) != controller || !path.starts_with('/'))
      continue;
    return path == "/" ? std::string() : std::string(path);
  }
  return {};
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

int64_t available_memory_bytes() {
  const int64_t available = left_by(kVersion1, cgroup_path("memory"), machine_available_bytes());
  return left_by(kVersion2, cgroup_path(""), available);
}

}  // namespace dak
