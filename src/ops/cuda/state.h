// The state behind OpContext::cuda.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "kernels/device_buffer.h"
#include "kernels/link_controller.h"
#include "kernels/split_matmul.h"
#include "memory/tiered_tensor.h"
#include "ops/context.h"
#include "ops/cuda_backend.h"

namespace dak {

class CudaBackend {
 public:
  explicit CudaBackend(int ordinal);
  ~CudaBackend();
  CudaBackend(const CudaBackend&) = delete;
  CudaBackend& operator=(const CudaBackend&) = delete;

  // Makes the GPU the calling thread's current one.
  void enter() const { cuda_check(cudaSetDevice(ordinal_)); }
  cudaStream_t stream() const { return stream_; }
  const LinkController& links() const { return links_; }

  // Schedules of a weight, made at its first use; the workspace serves it from then on.
  const SplitWeight& split(const TieredTensor& weight);
  const SplitWorkspace& workspace() const { return workspace_; }

  // Small host data for kernels, one slot for each kind: a copy on the device that is good for what
  // is enqueued before the slot's next upload. Unchanged data are not sent again.
  enum Slot : size_t { kIds, kPositions, kFrequencies, kRows, kKv, kSlots };
  template <typename T>
  const T* upload(Slot slot, std::span<const T> values) {
    return reinterpret_cast<const T*>(upload_bytes(slot, std::as_bytes(values)));
  }

  // Device scratch that grows and is kept; one user at a time in the order of the stream.
  void* scratch(int64_t size_bytes);

  // Values on the host once the stream has come here; good until the next call.
  const float* download(const float* values, int64_t count);

 private:
  const std::byte* upload_bytes(Slot slot, std::span<const std::byte> bytes);
  std::byte* pinned_for(int64_t size_bytes);

  struct Uploaded {
    std::vector<std::byte> host;
    DeviceBuffer device;
  };
  struct PinnedDeleter {
    void operator()(void* memory) const { cudaFreeHost(memory); }
  };
  struct Pinned {
    std::unique_ptr<void, PinnedDeleter> memory;
    int64_t size_bytes = 0;
    int64_t used = 0;
  };
  static Pinned make_pinned(int64_t size_bytes);

  int ordinal_;
  int sm_count_ = 0;
  cudaStream_t stream_ = nullptr;
  LinkController links_;
  SplitWorkspace workspace_;
  std::unordered_map<const RowBlock*, std::unique_ptr<SplitWeight>> weights_;
  std::array<Uploaded, kSlots> uploads_;
  Pinned ring_;  // what uploads pass through
  Pinned back_;  // what downloads arrive in
  DeviceBuffer scratch_;
};

}  // namespace dak
