// What the two arenas of the CUDA backend share: slabs given out in order, filled by the GPU.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "base/error.h"
#include "kernels/cuda_check.h"
#include "kernels/random_fill.h"
#include "memory/arena.h"

namespace dak {

// An allocation never crosses from one slab to another. Call with GPU `ordinal` current.
class SlabArena : public Arena {
 public:
  SlabArena(const Tier& tier, int ordinal) : tier_(tier), ordinal_(ordinal) {
    cuda_check(cudaStreamCreateWithFlags(&fill_stream_, cudaStreamNonBlocking));
  }
  ~SlabArena() override { cudaStreamDestroy(fill_stream_); }
  SlabArena(const SlabArena&) = delete;
  SlabArena& operator=(const SlabArena&) = delete;

  std::byte* allocate(int64_t size_bytes) final {
    const int64_t need = round_up_to_page(size_bytes);
    check_capacity(tier_, used_, need);
    while (current_ < slabs_.size() && slabs_[current_].size_bytes - slab_used_ < need) {
      ++current_;
      slab_used_ = 0;
    }
    if (current_ == slabs_.size()) {
      enter();
      add_slab(make_slab(std::max(usual_slab_bytes(), need)));
    }
    std::byte* data = slabs_[current_].data + slab_used_;
    slab_used_ += need;
    used_ += need;
    return data;
  }

  // By the GPU: its own memory at its speed, the host's at the link's.
  void fill_random(std::byte* at, const RandomValues& values) final {
    enter();
    random_fill(at, values, fill_stream_);
    cuda_check(cudaStreamSynchronize(fill_stream_));
  }

  void read(const std::byte* at, std::span<std::byte> bytes) const final {
    enter();
    cuda_check(cudaMemcpy(bytes.data(), at, bytes.size(), cudaMemcpyDefault));
  }

  void release() final {
    enter();
    slabs_.clear();
    current_ = 0;
    slab_used_ = 0;
    used_ = 0;
  }

  int64_t used_bytes() const final { return used_; }
  const Tier& tier() const final { return tier_; }

 protected:
  struct Slab {
    std::byte* data = nullptr;
    int64_t size_bytes = 0;
    std::shared_ptr<void> owner;  // frees it
  };
  virtual Slab make_slab(int64_t size_bytes) = 0;
  virtual int64_t usual_slab_bytes() const { return int64_t{64} << 20; }

  void add_slab(Slab slab) { slabs_.push_back(std::move(slab)); }
  bool has_slabs() const { return !slabs_.empty(); }
  int ordinal() const { return ordinal_; }
  // A loading thread has not chosen a GPU yet.
  void enter() const { cuda_check(cudaSetDevice(ordinal_)); }

 private:
  Tier tier_;
  int ordinal_;
  cudaStream_t fill_stream_ = nullptr;
  std::vector<Slab> slabs_;
  size_t current_ = 0;     // slab that is given out
  int64_t slab_used_ = 0;  // bytes of it
  int64_t used_ = 0;
};

}  // namespace dak
