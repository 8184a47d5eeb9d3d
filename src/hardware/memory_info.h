// How much memory this process may still take, and what of it a cache holds.
#pragma once

#include <cstdint>

namespace dak {

// The smaller of the machine's available memory and what the process's cgroup (v1 or v2)
// and those above it leave.
int64_t available_memory_bytes();

// Of the last-level cache that the first processor has a part in; 0: the system does not say.
int64_t last_level_cache_bytes();

}  // namespace dak
