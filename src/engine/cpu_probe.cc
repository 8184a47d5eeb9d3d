#include "engine/cpu_probe.h"

#include <fmt/chrono.h>
#include <sys/utsname.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <numeric>
#include <random>

#include "base/seconds.h"
#include "engine/cpu_costs.h"
#include "engine/device.h"
#include "hardware/memory_info.h"
#include "hardware/read_bandwidth.h"
#include "memory/numa.h"

namespace dak {
namespace {

constexpr int64_t kStreamBytes = int64_t{512} << 20;  // past the last-level cache
constexpr int64_t kChaseBytes = int64_t{128} << 20;
constexpr int64_t kLine = 64;
constexpr double kEnoughSeconds = 0.2;

// The least time of one call among those that fit into kEnoughSeconds.
template <class Work>
double least_seconds(const Work& work) {
  const auto begin = std::chrono::steady_clock::now();
  double least = 0;
  do {
    const auto start = std::chrono::steady_clock::now();
    work();
    const double seconds = seconds_since(start);
    least = least == 0 ? seconds : std::min(least, seconds);
  } while (seconds_since(begin) < kEnoughSeconds);
  return least;
}

// Time of one read of memory that nothing foresees: each line holds the index of the next.
double idle_round_trip_us() {
  struct alignas(kLine) Line {
    size_t next;
  };
  std::vector<Line> lines(static_cast<size_t>(probe_bytes(kChaseBytes) / kLine));
  std::vector<size_t> order(lines.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::shuffle(order.begin(), order.end(), std::mt19937(1));
  for (size_t i = 0; i < order.size(); ++i) {
    lines[order[i]].next = order[(i + 1) % order.size()];
  }
  constexpr int kReads = 20'000;
  volatile size_t end = 0;
  const double seconds = least_seconds([&] {
    size_t read = end;
    for (int i = 0; i < kReads; ++i) read = lines[read].next;
    end = read;
  });
  return seconds / kReads * 1e6;
}

double loop_us(ThreadPool& pool) {
  constexpr int kLoops = 200;
  std::vector<double> times;
  for (int i = 0; i < kLoops; ++i) {
    const auto start = std::chrono::steady_clock::now();
    pool.parallel_for(pool.size(), 1, [](int64_t, int64_t, int) {});
    times.push_back(seconds_since(start));
  }
  std::nth_element(times.begin(), times.begin() + kLoops / 2, times.end());
  return times[kLoops / 2] * 1e6;
}

}  // namespace

std::string cpu_name() {
  constexpr std::string_view kKey = "model name";
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(kKey)) continue;
    const size_t value = line.find_first_not_of(": \t", kKey.size());
    if (value != std::string::npos) return line.substr(value);
  }
  utsname system{};
  return uname(&system) == 0 ? system.machine : "unknown";
}

HardwareProfile probe_cpu(ThreadPool& pool, const ProbeProgress& progress) {
  const auto next = [&](const char* what, double share) {
    if (progress) progress(what, share);
  };
  HardwareProfile profile{.name = cpu_name(),
                          .device = "cpu",
                          .processor = cpu_name(),
                          .uuid = {},
                          .driver = {},
                          .compute_capability = {},
                          .sm_count = pool.size(),
                          .sources = {fmt::format("measured by dak probe on {:%Y-%m-%d}",
                                                  fmt::gmtime(std::time(nullptr)))},
                          .peak_flops_per_s = {},
                          .numa_nodes = {},
                          .tiers = {}};
  next("arithmetic", 0);
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    profile.peak_flops_per_s[dtype] = measure_cpu_peak(pool, dtype, kEnoughSeconds);
  }
  profile.launch_overhead_us = loop_us(pool);
  for (const NumaMemory& memory : numa_memories()) {
    profile.numa_nodes.push_back({.node = memory.node, .memory_bytes = memory.size_bytes});
  }
  next("latency of memory", 0.3);
  const double round_trip_us = idle_round_trip_us();
  next("bandwidth of memory", 0.5);
  const double read_bytes_per_s = measure_read_bandwidth(pool, probe_bytes(kStreamBytes));
  next("small operations", 0.7);
  profile.cpu_costs = measure_cpu_costs(pool);
  for (const Tier& tier : cpu_tiers(read_bytes_per_s)) {
    profile.tiers.push_back({.name = tier.name,
                             .kind = tier.kind,
                             .node = tier.node,
                             .channel = tier.channel,
                             .capacity_bytes = tier.capacity_bytes,
                             .read_bytes_per_s = tier.read_bytes_per_s,
                             .idle_round_trip_us = round_trip_us});
  }
  return profile;
}

}  // namespace dak
