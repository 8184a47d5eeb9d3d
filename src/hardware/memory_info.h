// How much memory this process may still take, and what of it a cache holds.
#pragma once

#include <cstdint>
#include <filesystem>

namespace dak {

// The smaller of the machine's available memory and what the process's cgroup (v1 or v2)
// and those above it leave. `root`: where /proc and /sys are looked for; tests have their own.
int64_t available_memory_bytes(const std::filesystem::path& root = "/");

// How much memory a measurement takes that is best with `wanted_bytes`: no more than an eighth of
// what is available, in whole pages, at least one. Where that fits a cache, it measures the cache.
int64_t probe_bytes(int64_t wanted_bytes, int64_t available_bytes = available_memory_bytes());

// Of the last-level cache that the first processor has a part in; 0: the system does not say.
int64_t last_level_cache_bytes();

}  // namespace dak
