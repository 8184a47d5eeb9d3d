#include <cuda_runtime_api.h>
#include <sys/resource.h>

#include <array>

#include "base/units.h"
#include "memory/host_pages.h"
#include "memory/numa.h"
#include "memory_cuda/arenas.h"
#include "memory_cuda/slab_arena.h"

namespace dak {
namespace {

// One registration a slab: a bulk copy must not cross from one registration to another, and slabs
// are what no allocation crosses. A registration of 512 GiB fails.
constexpr int64_t kMostSlabBytes = int64_t{256} << 30;

std::string locked_memory_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return "unknown";
  if (limit.rlim_cur == RLIM_INFINITY) return "unlimited";
  return format_bytes(static_cast<int64_t>(limit.rlim_cur));
}

// The node that the tier names, else the GPU's.
int numa_node_of(const Tier& tier, int ordinal) {
  if (tier.node >= 0) return tier.node;
  std::array<char, 32> bus_id{};
  if (cudaDeviceGetPCIBusId(bus_id.data(), static_cast<int>(bus_id.size()), ordinal) !=
      cudaSuccess) {
    cudaGetLastError();
    return -1;
  }
  return numa_node_of_pci(bus_id.data());
}

// Faulted in first, by several threads, and then registered: that is quick on pages that are there.
class PinnedPages {
 public:
  PinnedPages(const Tier& tier, int64_t size_bytes, int node, ProgressCounter& progress)
      : pages_(tier, size_bytes, node, progress) {
    const cudaError_t status = cudaHostRegister(pages_.data(), static_cast<size_t>(size_bytes),
                                                cudaHostRegisterPortable | cudaHostRegisterMapped);
    if (status == cudaSuccess) return;
    cudaGetLastError();
    throw Error(
        ErrorCode::kResourceExhausted,
        {.where = "tier " + tier.name,
         .field = {},
         .value = {},
         .problem = fmt::format("the system refused to pin {} of host memory ({}); the limit of "
                                "locked memory is {}",
                                format_bytes(size_bytes), cudaGetErrorString(status),
                                locked_memory_limit()),
         .fix = "raise it (ulimit -l unlimited; in a container --ulimit memlock=-1, and docker -m "
                "for the memory itself) or offload less"});
  }
  ~PinnedPages() {
    cudaHostUnregister(pages_.data());
    cudaGetLastError();  // of a GPU that was lost
  }
  PinnedPages(const PinnedPages&) = delete;
  PinnedPages& operator=(const PinnedPages&) = delete;

  std::byte* data() const { return pages_.data(); }

 private:
  HostPages pages_;
};

class PinnedArena final : public SlabArena {
 public:
  PinnedArena(const Tier& tier, int ordinal, int64_t expected_bytes, const ProgressFn& report)
      : SlabArena(tier, ordinal) {
    int64_t left = round_up_to_page(expected_bytes);
    ProgressCounter progress("pinning host memory", left, report);
    while (left > 0) {
      const int64_t bytes = std::min(left, kMostSlabBytes);
      add_slab(pin(bytes, progress));
      left -= bytes;
    }
  }

 private:
  Slab make_slab(int64_t size_bytes) override {
    ProgressCounter progress({}, size_bytes, no_report_);
    return pin(size_bytes, progress);
  }

  Slab pin(int64_t size_bytes, ProgressCounter& progress) const {
    int same_address = 0;
    cuda_check(cudaDeviceGetAttribute(&same_address, cudaDevAttrCanUseHostPointerForRegisteredMem,
                                      ordinal()));
    if (same_address == 0) {
      throw_unsupported(
          "tier " + tier().name, {}, {},
          fmt::format("GPU {} cannot read host memory at its own addresses", ordinal()),
          "use --offload-ratio 0 or --device cpu");
    }
    auto pages = std::make_shared<PinnedPages>(tier(), size_bytes, numa_node_of(tier(), ordinal()),
                                               progress);
    std::byte* data = pages->data();
    return {data, size_bytes, std::move(pages)};
  }

  ProgressFn no_report_;
};

}  // namespace

std::unique_ptr<Arena> make_pinned_arena(const Tier& tier, int ordinal, int64_t expected_bytes,
                                         const ProgressFn& progress) {
  cuda_check(cudaSetDevice(ordinal));
  return std::make_unique<PinnedArena>(tier, ordinal, expected_bytes, progress);
}

}  // namespace dak
