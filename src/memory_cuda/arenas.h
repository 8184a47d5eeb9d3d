// Arenas of the CUDA backend. A build without CUDA has them too: there they throw kUnsupported.
#pragma once

#include <cstdint>
#include <memory>

#include "base/progress.h"
#include "memory/arena.h"

namespace dak {

// Memory of GPU `ordinal`, zeroed. The first `expected_bytes` are one allocation, so that a budget
// that was planned to the byte is kept to the byte; later ones come in slabs. Not host_writable:
// `write` passes through small pinned buffers.
std::unique_ptr<Arena> make_device_arena(const Tier& tier, int ordinal, int64_t expected_bytes);

// Lets kernels of GPU `ordinal` read memory of GPU `peer`, from now on. Throws kUnsupported with
// the reason where that is the same GPU, where there is no such GPU and where the two are not
// joined.
void open_peer(int ordinal, int peer);

// Memory of GPU `tier.node`, zeroed, which GPU `ordinal` reads at the same addresses: opened as by
// open_peer. `expected_bytes` and `write` as above; filled over the link.
std::unique_ptr<Arena> make_peer_arena(const Tier& tier, int ordinal, int64_t expected_bytes);

// Host memory that GPU `ordinal` reads at the same addresses, on the NUMA node that the tier names,
// by default the GPU's. `expected_bytes` are pinned now: pages are faulted in by several threads,
// reported to `progress` as they come, then registered, 256 GiB at a time. What a span of 256 GiB
// cannot hold whole goes to the next, and memory past the expected comes in small slabs. Throws
// kResourceExhausted where the system refuses to pin, saying how to raise the limit, and
// kUnsupported where host addresses are not device addresses.
std::unique_ptr<Arena> make_pinned_arena(const Tier& tier, int ordinal, int64_t expected_bytes,
                                         const ProgressFn& progress = {});

}  // namespace dak
