// What every operation needs: where it runs and what it counts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/thread_pool.h"
#include "memory/tier.h"
#include "ops/cuda_backend.h"
#include "ops/operation_timer.h"
#include "ops/pass_notes.h"

namespace dak {

enum class Backend : uint8_t { kCpu, kCuda };

// One per engine. Operations are called from one thread at a time.
struct OpContext {
  Backend backend = Backend::kCpu;
  ThreadPool* pool = nullptr;
  CudaBackend* cuda = nullptr;  // with kCuda: tensors, weights and pages must be device-readable
  // CPU backend: rounds the inputs of products with 16-bit weights to the weight's type, as the
  // matrix units of a GPU want them. For tests: a naive implementation of the same precision.
  bool round_matmul_inputs = false;
  OperationTimer* timer = nullptr;  // null: nothing is timed
  PassNotes* notes = nullptr;       // not null: operations are noted and not run
  TierTraffic traffic;  // weight and KV bytes that operations read, by tier; the caller resets it

  // Scratch that grows and is kept, so that a decode step allocates nothing. 64-byte aligned.
  // Growing one slot leaves the others where they are. Slots below kOperationSlots are the
  // operations' own; callers use those from there on.
  float* scratch(size_t slot, int64_t count);
  static constexpr size_t kOperationSlots = 8;

 private:
  struct Buffer {
    std::vector<std::byte> storage;
    float* data = nullptr;
    int64_t count = 0;
  };
  std::vector<Buffer> buffers_;
};

}  // namespace dak
