// What tests on a GPU share.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/tensor.h"
#include "hardware/cuda_device.h"
#include "memory_cuda/arenas.h"
#include "ops/context.h"
#include "ops/rows.h"

namespace dak::test {

// Why tests on a GPU, with these kernels, cannot run here; empty: they can.
inline std::string no_gpu(KernelKind kernels = KernelKind::kAuto) {
  const std::vector<CudaDevice> devices = cuda_devices();
  if (devices.empty()) return no_cuda_reason();
  if (kernels == KernelKind::kTma && !devices[0].kernels.tma) return devices[0].kernels.missing;
  return devices[0].unusable;
}

// Why GPU 0 cannot have memory of GPU 1 as a tier; empty: it can.
inline std::string no_peer() {
  if (const std::string reason = no_gpu(); !reason.empty()) return reason;
  if (cuda_devices().size() < 2) return "there is one GPU, and a peer tier is another one's memory";
  try {
    open_peer(0, 1);
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

// The folder of test data: where it was built, or $DAK_TEST_DATA on another machine.
inline std::string test_data(const char* built) {
  const char* moved = std::getenv("DAK_TEST_DATA");
  return moved != nullptr ? moved : built;
}

// GPU 0 with a tier of its own memory and one of the host's.
class Gpu {
 public:
  explicit Gpu(KernelKind kernels = KernelKind::kAuto) : backend_(make_cuda_backend(0, kernels)) {
    ctx.backend = Backend::kCuda;
    ctx.cuda = backend_.get();
  }

  std::byte* place(std::span<const std::byte> bytes, TierIndex tier = 0) {
    Arena& arena = tier == 0 ? *local_ : *host_;
    std::byte* at = arena.allocate(static_cast<int64_t>(bytes.size()));
    arena.write(at, bytes);
    return at;
  }
  const float* place(const std::vector<float>& values) {
    return reinterpret_cast<const float*>(place(std::as_bytes(std::span(values))));
  }
  // Rank 2 or 3.
  Tensor tensor(std::vector<int64_t> shape, const std::vector<float>& values) {
    Tensor t{.data = place(std::as_bytes(std::span(values))),
             .rank = static_cast<int>(shape.size()),
             .shape = {1, 1, 1}};
    std::copy(shape.begin(), shape.end(), t.shape.begin());
    require(t.elements() == static_cast<int64_t>(values.size()), "tensor of another size");
    return t;
  }
  std::vector<float> values(const Tensor& t) {
    const auto host = host_values(ctx, t);
    return {host.begin(), host.end()};
  }

  OpContext ctx;

 private:
  std::unique_ptr<Arena> local_ = make_device_arena({.name = "local"}, 0, 0);
  std::unique_ptr<Arena> host_ = make_pinned_arena({.name = "host"}, 0, 0);
  CudaBackendPtr backend_;
};

}  // namespace dak::test
