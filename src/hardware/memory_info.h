// How much memory this process may still take.
#pragma once

#include <cstdint>

namespace dak {

// The smaller of the machine's available memory and what the process's cgroup (v1 or v2)
// and those above it leave.
int64_t available_memory_bytes();

}  // namespace dak
