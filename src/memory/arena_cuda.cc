#include "memory/arena_cuda.h"

#include <cuda_runtime_api.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/units.h"
#include "kernels/cuda_check.h"

namespace dak {
namespace {

constexpr int64_t kSlabBytes = int64_t{64} << 20;
constexpr int64_t kPinChunkBytes = int64_t{1} << 30;
constexpr int kMostPinThreads = 8;  // pinning is the kernel clearing pages: a few threads saturate

int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

struct Slab {
  std::byte* data = nullptr;
  int64_t size_bytes = 0;
};

// Gives out slabs in order; how one is made and freed is the derived arena's own.
class SlabArena : public Arena {
 public:
  SlabArena(const Tier& tier, int ordinal, int64_t expected_bytes)
      : tier_(tier), ordinal_(ordinal), expected_(expected_bytes) {}

  std::byte* allocate(int64_t size_bytes) final {
    const int64_t need = round_up(size_bytes, kArenaAlignment);
    check_capacity(tier_, used_, need);
    if (slabs_.empty() || slabs_.back().size_bytes - slab_used_ < need) {
      cuda_check(cudaSetDevice(ordinal_));
      const int64_t usual = slabs_.empty() && expected_ > 0 ? expected_ : kSlabBytes;
      slabs_.push_back(make_slab(std::max(round_up(usual, kArenaAlignment), need)));
      slab_used_ = 0;
    }
    std::byte* data = slabs_.back().data + slab_used_;
    slab_used_ += need;
    used_ += need;
    return data;
  }

  int64_t used_bytes() const final { return used_; }
  const Tier& tier() const final { return tier_; }

 protected:
  virtual Slab make_slab(int64_t size_bytes) = 0;
  const std::vector<Slab>& slabs() const { return slabs_; }
  int ordinal() const { return ordinal_; }

 private:
  Tier tier_;
  int ordinal_;
  int64_t expected_;
  std::vector<Slab> slabs_;
  int64_t slab_used_ = 0;
  int64_t used_ = 0;
};

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
  using SlabArena::SlabArena;
  ~DeviceArena() override {
    for (const Slab& slab : slabs()) cudaFree(slab.data);
  }
  DeviceArena(const DeviceArena&) = delete;
  DeviceArena& operator=(const DeviceArena&) = delete;

  bool host_writable() const override { return false; }
  void write(std::byte* at, std::span<const std::byte> bytes) override {
    cuda_check(cudaSetDevice(ordinal()));  // a loading thread has not chosen one yet
    staging_.copy(at, bytes);
  }

 private:
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
    cuda_check(cudaMemset(data, 0, static_cast<size_t>(size_bytes)));
    cuda_check(cudaDeviceSynchronize());
    return {static_cast<std::byte*>(data), size_bytes};
  }

  Staging staging_;
};

class PinnedArena final : public SlabArena {
 public:
  using SlabArena::SlabArena;
  ~PinnedArena() override {
    for (const Slab& slab : slabs()) release(slab, slab.size_bytes);
  }
  PinnedArena(const PinnedArena&) = delete;
  PinnedArena& operator=(const PinnedArena&) = delete;

 private:
  static void release(const Slab& slab, int64_t pinned_bytes) {
    for (int64_t at = 0; at < pinned_bytes; at += kPinChunkBytes) {
      cudaHostUnregister(slab.data + at);
    }
    cudaGetLastError();  // pieces that were never pinned
    munmap(slab.data, static_cast<size_t>(slab.size_bytes));
  }

  Slab make_slab(int64_t size_bytes) override {
    int same_address = 0;
    cuda_check(cudaDeviceGetAttribute(&same_address, cudaDevAttrCanUseHostPointerForRegisteredMem,
                                      ordinal()));
    if (same_address == 0) {
      throw_unsupported(
          "tier " + tier().name, {}, {},
          fmt::format("GPU {} cannot read host memory at its own addresses", ordinal()),
          "use --offload-ratio 0 or --device cpu");
    }
    void* data = mmap(nullptr, static_cast<size_t>(size_bytes), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED) refuse(size_bytes, "the system has not so much memory");
    const Slab slab{static_cast<std::byte*>(data), size_bytes};
    madvise(data, static_cast<size_t>(size_bytes), MADV_HUGEPAGE);  // refusal costs only speed
    const cudaError_t status = pin(slab);
    if (status != cudaSuccess) {
      release(slab, size_bytes);
      refuse(size_bytes, cudaGetErrorString(status));
    }
    return slab;
  }

  // Pins in pieces, several at a time: the first failure, if any.
  cudaError_t pin(const Slab& slab) const {
    const int64_t pieces = (slab.size_bytes + kPinChunkBytes - 1) / kPinChunkBytes;
    std::atomic<int64_t> next = 0;
    std::atomic<cudaError_t> failure = cudaSuccess;
    const auto work = [&] {
      if (const cudaError_t chosen = cudaSetDevice(ordinal()); chosen != cudaSuccess) {
        failure = chosen;
        return;
      }
      for (int64_t i = next++; i < pieces && failure == cudaSuccess; i = next++) {
        const int64_t at = i * kPinChunkBytes;
        const int64_t bytes = std::min(kPinChunkBytes, slab.size_bytes - at);
        const cudaError_t status =
            cudaHostRegister(slab.data + at, static_cast<size_t>(bytes),
                             cudaHostRegisterPortable | cudaHostRegisterMapped);
        if (status != cudaSuccess) failure = status;
      }
    };
    std::vector<std::jthread> threads;
    for (int64_t i = 1; i < std::min<int64_t>(pieces, kMostPinThreads); ++i) {
      threads.emplace_back(work);
    }
    work();
    threads.clear();
    if (failure != cudaSuccess) cudaGetLastError();
    return failure;
  }

  [[noreturn]] void refuse(int64_t size_bytes, const char* reason) const {
    throw Error(ErrorCode::kResourceExhausted,
                {.where = "tier " + tier().name,
                 .field = {},
                 .value = {},
                 .problem = fmt::format("the system refused to pin {} of host memory ({})",
                                        format_bytes(size_bytes), reason),
                 .fix = "raise the limit of locked memory (ulimit -l unlimited; in a container "
                        "--ulimit memlock=-1 and a larger memory limit) or offload less"});
  }
};

}  // namespace

std::unique_ptr<Arena> make_device_arena(const Tier& tier, int ordinal, int64_t expected_bytes) {
  cuda_check(cudaSetDevice(ordinal));
  return std::make_unique<DeviceArena>(tier, ordinal, expected_bytes);
}

std::unique_ptr<Arena> make_pinned_arena(const Tier& tier, int ordinal, int64_t expected_bytes) {
  return std::make_unique<PinnedArena>(tier, ordinal, expected_bytes);
}

}  // namespace dak
