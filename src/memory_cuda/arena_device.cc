#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <mutex>

#include "base/units.h"
#include "memory_cuda/arenas.h"
#include "memory_cuda/slab_arena.h"

namespace dak {
namespace {

// Pinned buffers that bytes for the device pass through. Several, so that loading threads pack
// while others copy.
class Staging {
 public:
  Staging() {
    cuda_check(cudaHostAlloc(&memory_, kSlots * kSlotBytes, cudaHostAllocDefault));
    cuda_check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  }
  ~Staging() {
    cudaStreamDestroy(stream_);
    cudaFreeHost(memory_);
  }
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  void copy(std::byte* to, std::span<const std::byte> bytes) {
    const size_t slot = next_.fetch_add(1, std::memory_order_relaxed) % kSlots;
    const std::lock_guard lock(busy_[slot]);
    auto* buffer = static_cast<std::byte*>(memory_) + slot * kSlotBytes;
    while (!bytes.empty()) {
      const auto piece = bytes.first(std::min(bytes.size(), kSlotBytes));
      std::memcpy(buffer, piece.data(), piece.size());
      cuda_check(cudaMemcpyAsync(to, buffer, piece.size(), cudaMemcpyHostToDevice, stream_));
      cuda_check(cudaStreamSynchronize(stream_));
      to += piece.size();
      bytes = bytes.subspan(piece.size());
    }
  }

 private:
  static constexpr size_t kSlots = 8;
  static constexpr size_t kSlotBytes = size_t{4} << 20;
  void* memory_ = nullptr;
  cudaStream_t stream_ = nullptr;
  std::array<std::mutex, kSlots> busy_;
  std::atomic<size_t> next_ = 0;
};

class DeviceArena final : public SlabArena {
 public:
  DeviceArena(const Tier& tier, int ordinal, int64_t expected_bytes)
      : SlabArena(tier, ordinal), expected_(round_up_to_page(expected_bytes)) {}

  bool host_writable() const override { return false; }
  void write(std::byte* at, std::span<const std::byte> bytes) override {
    enter();
    staging_.copy(at, bytes);
  }

 private:
  int64_t usual_slab_bytes() const override {
    return !has_slabs() && expected_ > 0 ? expected_ : SlabArena::usual_slab_bytes();
  }

  Slab make_slab(int64_t size_bytes) override {
    void* data = nullptr;
    if (cudaMalloc(&data, static_cast<size_t>(size_bytes)) != cudaSuccess) {
      cudaGetLastError();
      throw Error(ErrorCode::kResourceExhausted,
                  {.where = "tier " + tier().name,
                   .field = {},
                   .value = {},
                   .problem = fmt::format("GPU {} refused {} of memory", ordinal(),
                                          format_bytes(size_bytes)),
                   .fix = "use a smaller --hbm-budget, or free memory of the GPU"});
    }
    std::shared_ptr<void> owner(data, [](void* memory) { cudaFree(memory); });
    cuda_check(cudaMemset(data, 0, static_cast<size_t>(size_bytes)));
    cuda_check(cudaDeviceSynchronize());
    return {static_cast<std::byte*>(data), size_bytes, std::move(owner)};
  }

  int64_t expected_;
  Staging staging_;
};

}  // namespace

std::unique_ptr<Arena> make_device_arena(const Tier& tier, int ordinal, int64_t expected_bytes) {
  cuda_check(cudaSetDevice(ordinal));
  return std::make_unique<DeviceArena>(tier, ordinal, expected_bytes);
}

}  // namespace dak
