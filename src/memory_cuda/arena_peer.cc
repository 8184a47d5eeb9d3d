#include <cuda_runtime_api.h>

#include "base/units.h"
#include "memory_cuda/arenas.h"
#include "memory_cuda/slab_arena.h"

namespace dak {
namespace {

[[noreturn]] void refuse(int ordinal, int peer, std::string_view problem, std::string_view fix) {
  throw_unsupported("tier peer", "GPU", fmt::format("cuda:{} from cuda:{}", peer, ordinal), problem,
                    fix);
}

// Memory of another GPU, in allocations that the computing GPU is let into. What fills it runs on
// the computing GPU, so that a link that does not work is found while loading.
class PeerArena final : public SlabArena {
 public:
  PeerArena(const Tier& tier, int ordinal, int64_t expected_bytes)
      : SlabArena(tier, ordinal), peer_(tier.node), expected_(round_up_to_page(expected_bytes)) {}

  bool host_writable() const override { return false; }
  void write(std::byte* at, std::span<const std::byte> bytes) override {
    enter();
    // By way of the driver's own pinned buffers: it returns when the bytes have arrived.
    cuda_check(cudaMemcpy(at, bytes.data(), bytes.size(), cudaMemcpyDefault));
  }

 private:
  int64_t usual_slab_bytes() const override {
    return !has_slabs() && expected_ > 0 ? expected_ : SlabArena::usual_slab_bytes();
  }

  Slab make_slab(int64_t size_bytes) override {
    cuda_check(cudaSetDevice(peer_));
    void* data = nullptr;
    const bool given = cudaMalloc(&data, static_cast<size_t>(size_bytes)) == cudaSuccess;
    if (!given) {
      cudaGetLastError();
      enter();
      throw Error(
          ErrorCode::kResourceExhausted,
          {.where = "tier " + tier().name,
           .field = {},
           .value = {},
           .problem = fmt::format("GPU {} refused {} of memory", peer_, format_bytes(size_bytes)),
           .fix = "give the tier a smaller size in --tiers, or free memory of that GPU"});
    }
    std::shared_ptr<void> owner(data, [](void* memory) { cudaFree(memory); });
    cuda_check(cudaMemset(data, 0, static_cast<size_t>(size_bytes)));
    cuda_check(cudaDeviceSynchronize());
    enter();
    return {static_cast<std::byte*>(data), size_bytes, std::move(owner)};
  }

  int peer_;
  int64_t expected_;
};

}  // namespace

void open_peer(int ordinal, int peer) {
  int count = 0;
  cuda_check(cudaGetDeviceCount(&count));
  if (peer < 0 || peer >= count) {
    refuse(ordinal, peer, "there is no such GPU",
           fmt::format("this process sees cuda:0 to cuda:{}", count - 1));
  }
  if (peer == ordinal) {
    refuse(ordinal, peer, "is the GPU that computes, whose memory is tier local",
           "name another GPU");
  }
  int readable = 0;
  cuda_check(cudaDeviceCanAccessPeer(&readable, ordinal, peer));
  if (readable == 0) {
    refuse(ordinal, peer,
           "cannot be read: the driver finds no NVLink between the two, nor a PCIe path that "
           "allows it",
           "see nvidia-smi topo -p2p r; use a GPU joined by NVLink, or host");
  }
  cuda_check(cudaSetDevice(ordinal));
  const cudaError_t status = cudaDeviceEnablePeerAccess(peer, 0);
  if (status == cudaErrorPeerAccessAlreadyEnabled) {
    cudaGetLastError();
    return;
  }
  if (status == cudaSuccess) return;
  cudaGetLastError();
  refuse(ordinal, peer, fmt::format("access was refused: {}", cudaGetErrorString(status)),
         "see nvidia-smi topo -p2p r, or use host");
}

std::unique_ptr<Arena> make_peer_arena(const Tier& tier, int ordinal, int64_t expected_bytes) {
  open_peer(ordinal, tier.node);
  return std::make_unique<PeerArena>(tier, ordinal, expected_bytes);
}

}  // namespace dak
