// How fast the host's cores stream memory: the bound that CPU operations are measured against.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/thread_pool.h"

namespace dak {

// Seconds for every thread of the pool to read its contiguous share of `bytes` once, with plain
// loads and an addition.
double time_read_pass(ThreadPool& pool, std::span<const std::byte> bytes);

// Bytes per second of the best of several such passes over a buffer of `bytes`, which should exceed
// the last-level cache several times (1 GiB does). Throws kResourceExhausted without the memory.
double measure_read_bandwidth(ThreadPool& pool, int64_t bytes);

}  // namespace dak
