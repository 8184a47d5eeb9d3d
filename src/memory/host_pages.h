// Host memory as pinning wants to find it: on a chosen NUMA node, in huge pages where the system
// grants them, and every page there already. Faulting pages in is most of what pinning costs, and
// several threads do it faster than the one of a pinning call.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/progress_counter.h"
#include "memory/tier.h"

namespace dak {

class HostPages {
 public:
  // `size_bytes` zeroed bytes. `node` -1: wherever. Adds to `progress` as pages come. Throws
  // kResourceExhausted naming `tier` when the system has not so much, and what `progress` throws.
  HostPages(const Tier& tier, int64_t size_bytes, int node, ProgressCounter& progress);
  ~HostPages();
  HostPages(const HostPages&) = delete;
  HostPages& operator=(const HostPages&) = delete;

  std::byte* data() const { return data_; }
  int64_t size_bytes() const { return size_bytes_; }

 private:
  std::byte* data_ = nullptr;
  int64_t size_bytes_ = 0;
};

}  // namespace dak
