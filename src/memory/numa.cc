#include "memory/numa.h"

#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <filesystem>
#include <fstream>

namespace dak {
namespace {

constexpr int kMostNodes = 1024;  // the kernel's own limit
constexpr int kMaskBits = 8 * sizeof(unsigned long);

}  // namespace

bool has_numa_nodes() {
  std::ifstream file("/sys/devices/system/node/online");  // "0", "0-1", "0,2"
  std::string nodes;
  file >> nodes;
  return nodes.find_first_of("-,") != std::string::npos;
}

std::vector<NumaMemory> numa_memories(const std::string& nodes) {
  constexpr std::string_view kPrefix = "node";
  std::vector<NumaMemory> found;
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator(nodes, failed)) {
    const std::string name = entry.path().filename().string();
    int node = -1;
    const auto [end, status] = std::from_chars(name.data() + std::min(name.size(), kPrefix.size()),
                                               name.data() + name.size(), node);
    if (!name.starts_with(kPrefix) || status != std::errc() || end != name.data() + name.size()) {
      continue;
    }
    // "Node 0 MemTotal:       25165824 kB"
    std::ifstream file(entry.path() / "meminfo");
    std::string word;
    int64_t kib = 0;
    if (file >> word >> word >> word >> kib && word == "MemTotal:" && kib > 0) {
      found.push_back({.node = node, .size_bytes = kib * 1024});
    }
  }
  std::ranges::sort(found, {}, &NumaMemory::node);
  return found;
}

int numa_node_of_pci(const std::string& bus_id, const std::string& devices) {
  std::string name = bus_id;
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
  std::ifstream file(devices + "/" + name + "/numa_node");
  int node = -1;
  return file >> node ? node : -1;
}

bool prefer_numa_node(void* data, int64_t size_bytes, int node) {
  if (node < 0 || node >= kMostNodes) return false;
  std::array<unsigned long, kMostNodes / kMaskBits> mask{};
  mask[static_cast<size_t>(node / kMaskBits)] = 1ul << (node % kMaskBits);
  // The call itself: libnuma would be a dependency for this alone.
  return syscall(SYS_mbind, data, static_cast<unsigned long>(size_bytes), MPOL_PREFERRED,
                 mask.data(), static_cast<unsigned long>(kMostNodes), 0u) == 0;
}

}  // namespace dak
