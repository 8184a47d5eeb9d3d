#include "memory/host_pages.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/math.h"
#include "base/thread_pool.h"
#include "base/units.h"
#include "memory/numa.h"

namespace dak {
namespace {

constexpr int64_t kPieceBytes = int64_t{64} << 20;
constexpr int kMostThreads = 16;    // clearing pages: a few threads saturate the memory
constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE, from Linux 5.14

void touch(std::byte* data, int64_t size_bytes) {
  const int64_t page = sysconf(_SC_PAGESIZE);
  for (int64_t at = 0; at < size_bytes; at += page) {
    *static_cast<volatile std::byte*>(data + at) = std::byte{0};
  }
}

// 0, or why the system refused.
int populate(std::byte* data, int64_t size_bytes) {
  while (madvise(data, static_cast<size_t>(size_bytes), kPopulateWrite) != 0) {
    if (errno == EINTR || errno == EAGAIN) continue;
    if (errno != EINVAL) return errno;
    touch(data, size_bytes);  // an older kernel
    break;
  }
  return 0;
}

[[noreturn]] void refuse(const Tier& tier, int64_t size_bytes, int reason) {
  throw Error(ErrorCode::kResourceExhausted,
              {.where = "tier " + tier.name,
               .field = {},
               .value = {},
               .problem = fmt::format("the system refused {} of host memory ({})",
                                      format_bytes(size_bytes), std::strerror(reason)),
               .fix = "free memory, raise the limit of the container (docker -m) or offload less"});
}

}  // namespace

HostPages::HostPages(const Tier& tier, int64_t size_bytes, int node, ProgressCounter& progress)
    : size_bytes_(size_bytes) {
  const auto length = static_cast<size_t>(size_bytes);
  void* mapped = mmap(nullptr, length, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) refuse(tier, size_bytes, errno);
  data_ = static_cast<std::byte*>(mapped);
  madvise(mapped, length, MADV_HUGEPAGE);  // refusal costs only speed, here and on the next line
  if (node >= 0 && has_numa_nodes()) prefer_numa_node(mapped, size_bytes, node);

  const int64_t pieces = ceil_div(size_bytes, kPieceBytes);
  std::atomic<bool> stop = false;
  try {
    const int threads =
        static_cast<int>(std::min<int64_t>(pieces, std::min(kMostThreads, usable_cpus())));
    ThreadPool pool(std::max(1, threads));
    pool.parallel_for(pieces, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end && !stop; ++i) {
        const int64_t bytes = std::min(kPieceBytes, size_bytes - i * kPieceBytes);
        try {
          const int reason = populate(data_ + i * kPieceBytes, bytes);
          if (reason != 0) refuse(tier, size_bytes, reason);
          progress.add(bytes);
        } catch (...) {
          stop = true;
          throw;
        }
      }
    });
  } catch (...) {
    munmap(mapped, length);  // a constructor that throws has no destructor
    throw;
  }
}

HostPages::~HostPages() { munmap(data_, static_cast<size_t>(size_bytes_)); }

}  // namespace dak
