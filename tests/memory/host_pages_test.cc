#include "memory/host_pages.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "base/error.h"
#include "memory/numa.h"
#include "support/throws_error.h"

namespace dak {
namespace {

constexpr int64_t kBytes = (int64_t{130} << 20) + 4096;  // three pieces, the last of one page
const Tier kHost{.name = "host", .kind = TierKind::kHost};

TEST(HostPages, AreZeroedAndCounted) {
  for (const int node : {-1, 0, 999}) {  // a node that is not there costs nothing but speed
    int64_t last = 0;
    int reports = 0;
    const ProgressFn report = [&](const Progress& progress) {
      EXPECT_EQ(progress.what, "pinning");
      EXPECT_EQ(progress.total_bytes, kBytes);
      EXPECT_GT(progress.done_bytes, last);
      last = progress.done_bytes;
      ++reports;
    };
    ProgressCounter progress("pinning", kBytes, report);
    const HostPages pages(kHost, kBytes, node, progress);
    EXPECT_EQ(last, kBytes);
    EXPECT_EQ(reports, 3);
    for (const int64_t at : {int64_t{0}, kBytes / 2, kBytes - 1}) {
      EXPECT_EQ(pages.data()[at], std::byte{0});
    }
    std::memset(pages.data(), 1, static_cast<size_t>(kBytes));
  }
}

TEST(HostPages, CanBeCancelled) {
  const ProgressFn report = [](const Progress&) { throw std::runtime_error("stop"); };
  ProgressCounter progress("pinning", kBytes, report);
  EXPECT_THROW(HostPages(kHost, kBytes, -1, progress), std::runtime_error);
}

TEST(HostPages, RefusalNamesTierAndFix) {
  const ProgressFn none;
  ProgressCounter progress("pinning", 0, none);
  EXPECT_TRUE(test::throws_error(ErrorCode::kResourceExhausted, {"tier host", "docker -m"},
                                 [&] { HostPages(kHost, int64_t{1} << 60, -1, progress); }));
}

TEST(Numa, ReadsTheNodeOfADevice) {
  const auto devices = std::filesystem::path(testing::TempDir()) / "pci";
  std::filesystem::create_directories(devices / "0000:1b:00.0");
  std::ofstream(devices / "0000:1b:00.0" / "numa_node") << "1\n";
  EXPECT_EQ(numa_node_of_pci("0000:1B:00.0", devices), 1);
  EXPECT_EQ(numa_node_of_pci("0000:1C:00.0", devices), -1);
  std::filesystem::remove_all(devices);
}

}  // namespace
}  // namespace dak
