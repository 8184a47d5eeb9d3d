// What control groups leave, in folders that look like /proc and /sys.
#include "hardware/memory_info.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "base/cgroup.h"

namespace dak {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMiB = int64_t{1} << 20;

// A root with these files, and 1,024 MiB available of the machine.
class FakeRoot {
 public:
  explicit FakeRoot(std::map<std::string, std::string> files) {
    files["proc/meminfo"] = "MemTotal: 4194304 kB\nMemAvailable: 1048576 kB\n";
    for (const auto& [name, text] : files) {
      fs::create_directories((path_ / name).parent_path());
      std::ofstream(path_ / name) << text;
    }
  }
  ~FakeRoot() { fs::remove_all(path_); }
  FakeRoot(const FakeRoot&) = delete;
  FakeRoot& operator=(const FakeRoot&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_ =
      fs::path(testing::TempDir()) / ("dak-root-" + std::to_string(getpid()) + "-" +
                                      std::to_string(reinterpret_cast<uintptr_t>(this)));
};

int64_t left(const std::map<std::string, std::string>& files) {
  return available_memory_bytes(FakeRoot(files).path()) / kMiB;
}
std::string mib(int64_t count) { return std::to_string(count * kMiB) + "\n"; }

TEST(MemoryInfo, WithoutALimitItIsTheMachines) {
  EXPECT_EQ(left({}), 1024);
  EXPECT_EQ(left({{"proc/self/cgroup", "0::/a\n"},
                  {"sys/fs/cgroup/a/memory.max", "max\n"},
                  {"sys/fs/cgroup/a/memory.current", mib(10)}}),
            1024);
}

TEST(MemoryInfo, TheTightestGroupOfVersion2Holds) {
  const std::map<std::string, std::string> nested{
      {"proc/self/cgroup", "0::/outer/inner\n"},
      {"sys/fs/cgroup/outer/memory.max", mib(200)},
      {"sys/fs/cgroup/outer/memory.current", mib(150)},
      {"sys/fs/cgroup/outer/memory.stat", "anon 1\ninactive_file " + mib(30)},
      {"sys/fs/cgroup/outer/inner/memory.max", mib(500)},
      {"sys/fs/cgroup/outer/inner/memory.current", mib(100)}};
  EXPECT_EQ(left(nested), 80);
  auto soft = nested;
  soft["sys/fs/cgroup/outer/inner/memory.high"] = mib(120);
  EXPECT_EQ(left(soft), 20);
  auto over = nested;
  over["sys/fs/cgroup/outer/memory.current"] = mib(300);
  EXPECT_EQ(left(over), 0);
}

TEST(MemoryInfo, AContainersOwnGroupIsTheMount) {
  EXPECT_EQ(left({{"proc/self/cgroup", "0::/\n"},
                  {"sys/fs/cgroup/memory.max", mib(64)},
                  {"sys/fs/cgroup/memory.current", mib(24)}}),
            40);
  // The path is of the host's hierarchy, which is not seen.
  EXPECT_EQ(left({{"proc/self/cgroup", "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n"},
                  {"sys/fs/cgroup/memory/memory.limit_in_bytes", mib(64)},
                  {"sys/fs/cgroup/memory/memory.usage_in_bytes", mib(14)},
                  {"sys/fs/cgroup/memory/memory.stat", "total_inactive_file " + mib(4)}}),
            54);
}

TEST(MemoryInfo, TheGroupsAboveHoldInVersion1) {
  EXPECT_EQ(left({{"proc/self/cgroup", "4:memory:/a/b\n"},
                  {"sys/fs/cgroup/memory/a/memory.limit_in_bytes", mib(100)},
                  {"sys/fs/cgroup/memory/a/memory.usage_in_bytes", mib(40)},
                  {"sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n"},
                  {"sys/fs/cgroup/memory/a/b/memory.usage_in_bytes", mib(40)}}),
            60);
}

TEST(MemoryInfo, AProbeTakesAnEighth) {
  EXPECT_EQ(probe_bytes(256 * kMiB, 1024 * kMiB), 128 * kMiB);
  EXPECT_EQ(probe_bytes(256 * kMiB, 4096 * kMiB), 256 * kMiB);
  EXPECT_EQ(probe_bytes(256 * kMiB, 80 * kMiB), 10 * kMiB);
  EXPECT_EQ(probe_bytes(256 * kMiB, 100'000), 12'288);
  EXPECT_EQ(probe_bytes(256 * kMiB, 0), 4096);
}

TEST(MemoryInfo, TheTightestQuotaGivesTheCpus) {
  const auto cpus = [](const std::map<std::string, std::string>& files) {
    return cgroup_cpus(FakeRoot(files).path());
  };
  EXPECT_EQ(cpus({}), std::nullopt);
  EXPECT_EQ(cpus({{"sys/fs/cgroup/cpu.max", "max 100000\n"}}), std::nullopt);
  EXPECT_EQ(cpus({{"proc/self/cgroup", "0::/a/b\n"},
                  {"sys/fs/cgroup/a/cpu.max", "250000 100000\n"},
                  {"sys/fs/cgroup/a/b/cpu.max", "800000 100000\n"}}),
            2);
  EXPECT_EQ(cpus({{"proc/self/cgroup", "3:cpu,cpuacct:/a\n"},
                  {"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "50000\n"},
                  {"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n"},
                  {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"},
                  {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"}}),
            1);
}

}  // namespace
}  // namespace dak
