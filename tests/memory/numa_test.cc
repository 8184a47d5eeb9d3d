#include "memory/numa.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace dak {
namespace {

namespace fs = std::filesystem;

TEST(Numa, ListsNodesThatHaveMemory) {
  const fs::path nodes = fs::path(testing::TempDir()) / "dak_numa_nodes";
  fs::remove_all(nodes);
  const auto write = [&](const char* name, const std::string& text) {
    fs::create_directories(nodes / name);
    std::ofstream(nodes / name / "meminfo") << text;
  };
  write("node1", "Node 1 MemTotal:       2048 kB\nNode 1 MemFree: 1 kB\n");
  write("node0", "Node 0 MemTotal:       1024 kB\n");
  write("node2", "Node 2 MemTotal:       0 kB\n");  // a GPU's, or one that is off
  write("node3", "nonsense");
  write("power", "Node 4 MemTotal:       4096 kB\n");
  const std::vector<NumaMemory> found = numa_memories(nodes.string());
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].node, 0);
  EXPECT_EQ(found[0].size_bytes, 1024 * 1024);
  EXPECT_EQ(found[1].node, 1);
  EXPECT_EQ(found[1].size_bytes, 2048 * 1024);
  fs::remove_all(nodes);
  EXPECT_TRUE(numa_memories(nodes.string()).empty());
}

}  // namespace
}  // namespace dak
