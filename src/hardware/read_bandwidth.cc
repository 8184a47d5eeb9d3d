#include "hardware/read_bandwidth.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "base/seconds.h"
#include "base/units.h"

namespace dak {
namespace {

constexpr int64_t kLine = 64;

// Where sums end: visible outside, so that the compiler cannot drop the loop that made them.
std::atomic<uint64_t>& sink() {
  static std::atomic<uint64_t> sum{0};
  return sum;
}

// Memory of its own, in huge pages where the system grants them: as weights lie.
class Mapping {
 public:
  explicit Mapping(int64_t bytes) : bytes_(static_cast<size_t>(bytes)) {
    data_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data_ == MAP_FAILED) {
      throw Error(ErrorCode::kResourceExhausted, {.where = "read bandwidth",
                                                  .field = "buffer",
                                                  .value = format_bytes(bytes),
                                                  .problem = "the system refused the memory",
                                                  .fix = "measure with a smaller buffer"});
    }
    madvise(data_, bytes_, MADV_HUGEPAGE);  // a hint: refused is fine
  }
  ~Mapping() { munmap(data_, bytes_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  std::span<std::byte> bytes() const { return {static_cast<std::byte*>(data_), bytes_}; }

 private:
  void* data_;
  size_t bytes_;
};

// Eight independent sums, so that loads never wait for an addition.
uint64_t sum_lines(const std::byte* data, int64_t lines) {
  uint64_t sum[8] = {};
  for (int64_t line = 0; line < lines; ++line, data += kLine) {
    for (int i = 0; i < 8; ++i) {
      uint64_t word;
      std::memcpy(&word, data + i * 8, sizeof(word));
      sum[i] += word;
    }
  }
  return sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}

}  // namespace

double time_read_pass(ThreadPool& pool, std::span<const std::byte> bytes) {
  const auto start = std::chrono::steady_clock::now();
  pool.parallel_for(static_cast<int64_t>(bytes.size()) / kLine, 1,
                    [&](int64_t begin, int64_t end, int) {
                      sink() += sum_lines(bytes.data() + begin * kLine, end - begin);
                    });
  return seconds_since(start);
}

double measure_read_bandwidth(ThreadPool& pool, int64_t bytes) {
  require(bytes > 0, "read bandwidth over no bytes");
  const Mapping mapping(bytes);
  const std::span<std::byte> data = mapping.bytes();
  // Each thread touches its own share first, so that pages lie on its NUMA node.
  pool.parallel_for(bytes, 1, [&](int64_t begin, int64_t end, int) {
    std::memset(data.data() + begin, 1, static_cast<size_t>(end - begin));
  });
  constexpr int kPasses = 5;
  double best = std::numeric_limits<double>::infinity();
  for (int pass = 0; pass < kPasses; ++pass) best = std::min(best, time_read_pass(pool, data));
  return static_cast<double>(bytes) / best;
}

}  // namespace dak
