// Where host memory lies on machines with several NUMA nodes. Refusal costs only speed, so nothing
// here throws.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dak {

// Whether the machine has more than one node.
bool has_numa_nodes();

// The nodes that have memory, in the order of their numbers; empty where the system does not say.
struct NumaMemory {
  int node = 0;
  int64_t size_bytes = 0;
};
std::vector<NumaMemory> numa_memories(const std::string& nodes = "/sys/devices/system/node");

// The node next to a PCI device, "0000:1B:00.0" as CUDA writes it; -1: unknown or none.
int numa_node_of_pci(const std::string& bus_id,
                     const std::string& devices = "/sys/bus/pci/devices");

// Pages of [data, data + size) that are not there yet will come from `node` while it has any.
// False: the system refused.
bool prefer_numa_node(void* data, int64_t size_bytes, int node);

}  // namespace dak
