// Control groups, versions 1 and 2: what limits this process beside the machine's size.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

namespace dak {

// The folders of the groups that hold this process, the innermost first: a limit of any of them
// holds. Those that cannot be seen, as the outer ones of a container, are left out.
struct CgroupFolders {
  std::vector<std::filesystem::path> v1;  // of the controller's own hierarchy
  std::vector<std::filesystem::path> v2;
};

// `controller`: "memory" or "cpu". `root`: where /proc and /sys are looked for; tests have their
// own.
CgroupFolders cgroup_folders(std::string_view controller, const std::filesystem::path& root = "/");

// The number in a file of a group; nothing where it is missing, negative or "max".
std::optional<int64_t> cgroup_number(const std::filesystem::path& file);

// CPUs that the CPU time allowed to the groups amounts to, rounded down, at least 1; nothing: no
// limit.
std::optional<int> cgroup_cpus(const std::filesystem::path& root = "/");

}  // namespace dak
