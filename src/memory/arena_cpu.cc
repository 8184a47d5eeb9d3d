#include <sys/mman.h>

#include <vector>

#include "base/error.h"
#include "base/units.h"
#include "memory/arena.h"
#include "memory/numa.h"

namespace dak {
namespace {

constexpr int64_t kSlabBytes = int64_t{64} << 20;  // large enough for huge pages, small enough to
                                                   // keep an arena's slack under 64 MiB

// Anonymous mappings, touched first by the threads that load into them.
class CpuArena final : public Arena {
 public:
  explicit CpuArena(const Tier& tier) : tier_(tier) {}
  ~CpuArena() override { unmap(); }
  CpuArena(const CpuArena&) = delete;
  CpuArena& operator=(const CpuArena&) = delete;

  std::byte* allocate(int64_t size_bytes) override {
    const int64_t need = round_up_to_page(size_bytes);
    check_capacity(tier_, used_, need);
    if (slabs_.empty() || slabs_.back().bytes - slabs_.back().used < need) map_slab(need);
    Slab& slab = slabs_.back();
    std::byte* data = slab.data + slab.used;
    slab.used += need;
    used_ += need;
    return data;
  }

  void release() override {
    unmap();
    slabs_.clear();
    used_ = 0;
  }

  int64_t used_bytes() const override { return used_; }
  const Tier& tier() const override { return tier_; }

 private:
  struct Slab {
    std::byte* data;
    int64_t bytes;
    int64_t used;
  };

  void unmap() {
    for (const Slab& slab : slabs_) munmap(slab.data, static_cast<size_t>(slab.bytes));
  }

  void map_slab(int64_t need) {
    const int64_t bytes = std::max(kSlabBytes, round_up_to_page(need));
    void* data = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED) {
      throw Error(ErrorCode::kResourceExhausted,
                  {.where = "tier " + tier_.name,
                   .field = {},
                   .value = {},
                   .problem = fmt::format("the system refused {} of memory", format_bytes(bytes)),
                   .fix = "free memory or use a smaller model or context"});
    }
    madvise(data, static_cast<size_t>(bytes), MADV_HUGEPAGE);  // a hint; refusal costs only speed
    if (tier_.node >= 0) prefer_numa_node(data, bytes, tier_.node);  // likewise
    slabs_.push_back({static_cast<std::byte*>(data), bytes, 0});
  }

  Tier tier_;
  std::vector<Slab> slabs_;
  int64_t used_ = 0;
};

}  // namespace

std::unique_ptr<Arena> make_cpu_arena(const Tier& tier) { return std::make_unique<CpuArena>(tier); }

}  // namespace dak
