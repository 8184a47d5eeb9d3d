#include "base/error.h"
#include "memory_cuda/arenas.h"

namespace dak {
namespace {

[[noreturn]] void refuse(const Tier& tier) {
  throw_unsupported("tier " + tier.name, {}, {}, "this build of dak has no CUDA",
                    "use --device cpu, or build where nvcc is");
}

}  // namespace

void open_peer(int, int peer) {
  throw_unsupported("tier peer", "GPU", fmt::format("cuda:{}", peer),
                    "this build of dak has no CUDA", "build it where nvcc is");
}
std::unique_ptr<Arena> make_device_arena(const Tier& tier, int, int64_t) { refuse(tier); }
std::unique_ptr<Arena> make_peer_arena(const Tier& tier, int, int64_t) { refuse(tier); }
std::unique_ptr<Arena> make_pinned_arena(const Tier& tier, int, int64_t, const ProgressFn&) {
  refuse(tier);
}

}  // namespace dak
