// What operations need to run on a GPU: a stream, the state of its links and scratch memory. No
// CUDA types here, and a build without CUDA has the functions too: there they throw kUnsupported.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "kernels/kernel_kind.h"
#include "memory/tier.h"
#include "memory/tiered_tensor.h"

namespace dak {

class CudaBackend;  // ops/cuda/state.h

struct CudaBackendDeleter {
  void operator()(CudaBackend* backend) const;
};
using CudaBackendPtr = std::unique_ptr<CudaBackend, CudaBackendDeleter>;

// For OpContext::cuda, with a stream of its own on GPU `ordinal`. Weights that operations have seen
// must keep their places while the backend lives, or until forget_weights. Throws kUnsupported for
// kernels that this build does not have for the GPU.
CudaBackendPtr make_cuda_backend(int ordinal, KernelKind kernels = KernelKind::kAuto);

// How fast the tiers are, as measured: a slow link is given fewer SMs. Before the first operation.
void set_tier_bandwidths(CudaBackend& backend, std::span<const Tier> tiers);

// What the congestion controller of a tier's link knows, as of the work enqueued so far; waits for
// it. All zero for a tier that was never read, all but read_bytes with the plain kernels.
struct LinkStatus {
  int64_t window_bytes = 0;     // remote reads in flight over the whole GPU; 0: there is none
  bool fixed = false;           // held by set_fixed_window
  double delay_us = 0;          // mean round trip of 8 KiB lately
  double min_delay_us = 0;      // least ever
  double read_bytes_per_s = 0;  // lately
  int64_t read_bytes = 0;       // since the start, as the kernels counted them
};
LinkStatus link_status(const CudaBackend& backend, TierIndex tier);

// For ablations: holds the window at `window_bytes`; 0 makes it adaptive again. Throws kUnsupported
// with the plain kernels.
void set_fixed_window(CudaBackend& backend, TierIndex tier, int64_t window_bytes);

// Weights have moved: what the backend knows of their places is forgotten, and recorded graphs are
// stale. Waits for the work enqueued so far. Not in modes prefetch and uva.
void forget_weights(CudaBackend& backend);

// Mode prefetch, to be chosen before the first operation. `cycle`: the weights that have remote
// blocks, and the layers that have remote places for KV pages, each once, in the order in which a
// forward pass uses them (from any one on), with the buffer that the remote part is copied to. The
// buffers are in local memory, hold the largest part that uses them, and like what is copied
// outlive the backend. Pages of other places are read where they lie.
struct PrefetchStage {
  const TieredTensor* weight = nullptr;  // null: KV pages
  size_t buffer = 0;
  int64_t kv_layer = 0;
  std::span<const std::byte> kv_pool = {};  // the layer's remote places
};
void use_prefetch(CudaBackend& backend, std::span<const PrefetchStage> cycle,
                  std::span<std::byte* const> buffers);

// Mode uva: products with row-major weights. `memory` on the GPU outlives the backend; what it has
// beyond cuBLASLt's workspace holds the sums of as many rows of x as fit at a time.
inline constexpr int64_t kUvaWorkspaceBytes = int64_t{32} << 20;  // what cuBLAS takes on Hopper
void use_uva(CudaBackend& backend, std::byte* memory, int64_t size_bytes);
// Throws kUnsupported where cuBLASLt is not installed.
void check_uva();

}  // namespace dak
