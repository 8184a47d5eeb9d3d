#include "base/cgroup.h"

#include <algorithm>
#include <fstream>
#include <string>

namespace dak {
namespace {

namespace fs = std::filesystem;

bool in_list(std::string_view list, std::string_view wanted) {
  for (size_t at = 0; at <= list.size();) {
    const size_t end = std::min(list.find(',', at), list.size());
    if (list.substr(at, end - at) == wanted) return true;
    at = end + 1;
  }
  return false;
}

// Of this process, from lines like "4:cpu,cpuacct:/a/b" (version 1) and "0::/a/b" (version 2, an
// empty controller): "a/b".
std::string group_path(std::string_view controller, const fs::path& root) {
  std::ifstream file(root / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    if (!in_list(std::string_view(line).substr(first + 1, second - first - 1), controller))
      continue;
    return line.substr(std::min(line.find_first_not_of('/', second + 1), line.size()));
  }
  return {};
}

// The mount itself is looked at whatever `group` is: in a container it is the container's own
// group.
void add_folders(const fs::path& mount, const std::string& group, std::vector<fs::path>& folders) {
  std::error_code unseen;
  for (fs::path path = group; !path.empty(); path = path.parent_path()) {
    if (fs::is_directory(mount / path, unseen)) folders.push_back(mount / path);
  }
  if (fs::is_directory(mount, unseen)) folders.push_back(mount);
}

struct Quota {
  double time = 0;  // of each period; 0: no limit
  double period = 0;
};

Quota quota_v1(const fs::path& folder) {
  const auto time = cgroup_number(folder / "cpu.cfs_quota_us");  // -1: no limit
  const auto period = cgroup_number(folder / "cpu.cfs_period_us");
  return {static_cast<double>(time.value_or(0)), static_cast<double>(period.value_or(0))};
}

Quota quota_v2(const fs::path& folder) {
  std::ifstream file(folder / "cpu.max");  // "max 100000", "150000 100000"
  Quota quota;
  if (file >> quota.time >> quota.period) return quota;
  return {};
}

}  // namespace

CgroupFolders cgroup_folders(std::string_view controller, const fs::path& root) {
  const fs::path mounts = root / "sys/fs/cgroup";
  CgroupFolders folders;
  std::error_code unseen;
  for (const char* name : {"", ",cpuacct"}) {
    const fs::path mount = mounts / (std::string(controller) + name);
    if (!fs::is_directory(mount, unseen)) continue;
    add_folders(mount, group_path(controller, root), folders.v1);
    break;
  }
  const fs::path beside_v1 = mounts / "unified";
  add_folders(fs::is_directory(beside_v1, unseen) ? beside_v1 : mounts, group_path("", root),
              folders.v2);
  return folders;
}

std::optional<int64_t> cgroup_number(const fs::path& file) {
  std::ifstream stream(file);
  int64_t value = 0;
  if (stream >> value && value >= 0) return value;
  return std::nullopt;
}

std::optional<int> cgroup_cpus(const fs::path& root) {
  const CgroupFolders folders = cgroup_folders("cpu", root);
  std::vector<Quota> quotas;
  for (const fs::path& folder : folders.v1) quotas.push_back(quota_v1(folder));
  for (const fs::path& folder : folders.v2) quotas.push_back(quota_v2(folder));
  std::optional<int> least;
  for (const Quota& quota : quotas) {
    if (quota.time <= 0 || quota.period <= 0) continue;
    const int cpus = std::max(1, static_cast<int>(quota.time / quota.period));
    least = std::min(least.value_or(cpus), cpus);
  }
  return least;
}

}  // namespace dak
