#include "gpu/bench_cases.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "kernels/cuda_check.h"

namespace dak::bench {
namespace {

const std::vector<Shape> kShapes = {
    {"opt30b.qkv", 21504, 7168},       {"opt30b.out", 7168, 7168},     {"opt30b.fc1", 28672, 7168},
    {"opt30b.fc2", 7168, 28672},       {"llama70b.qkv", 10240, 8192},  {"llama70b.o", 8192, 8192},
    {"llama70b.gate_up", 57344, 8192}, {"llama70b.down", 8192, 28672},
};

constexpr int64_t kKiB = 1024;

double gb(double bytes_per_s) { return bytes_per_s / 1e9; }

// Seconds that the bytes of one pass over `chain` need at least.
double bound_s(const Bench& bench, const Chain& chain) {
  double seconds = static_cast<double>(chain.bytes(0)) / bench.machine.local_bytes_per_s;
  for (size_t link = 0; link < bench.machine.link_bytes_per_s.size(); ++link) {
    const auto bytes = static_cast<double>(chain.bytes(static_cast<TierIndex>(link + 1)));
    seconds = std::max(seconds, bytes / bench.machine.link_bytes_per_s[link]);
  }
  return seconds;
}

// Over all links.
double remote_bytes(const Bench& bench, const Chain& chain) {
  int64_t bytes = 0;
  for (size_t link = 0; link < bench.machine.link_bytes_per_s.size(); ++link) {
    bytes += chain.bytes(static_cast<TierIndex>(link + 1));
  }
  return static_cast<double>(bytes);
}

// Different weights, together several times the L2.
std::vector<Shape> rotation(const Bench& bench, const Shape& shape) {
  const int64_t bytes = shape.rows * shape.cols * 2;
  const int64_t copies = std::clamp<int64_t>(
      1'000'000'000 / bytes, 3, std::max<int64_t>(bench.arenas.size_bytes() / bytes, 1));
  return std::vector<Shape>(static_cast<size_t>(std::min<int64_t>(copies, 8)), shape);
}

size_t graph_length(const Bench& bench, const Chain& chain) {
  const double pass_s = bound_s(bench, chain);
  const auto passes = static_cast<size_t>(std::clamp(0.004 / pass_s, 1.0, 8.0));
  return passes * chain.size();
}

}  // namespace

Rows run_matmuls(const Bench& bench, int& failures) {
  Rows rows;
  fmt::print("{:18} {:>3} {:>6} {:>8} {:>8} {:>9} {:>9} {:>7} {:>7} {:>6} {:>6} {:>7} {:>6}\n",
             "weight", "m", "ratio", "MB loc", "MB rem", "us graph", "us alone", "GB/s l", "GB/s r",
             "%graph", "%alone", "win KiB", "dly us");
  for (const Shape& shape : kShapes) {
    if (shape.name.find(bench.options.only) == std::string::npos) continue;
    for (const int64_t batch : bench.options.batches) {
      std::vector<uint16_t> first;
      for (const double ratio : bench.options.ratios) {
        const auto weights = place_weights(bench.arenas, rotation(bench, shape), ratio,
                                           bench.machine.link_bytes_per_s);
        Chain chain(weights, batch, bench.machine, bench.links, bench.stream);
        const auto out = chain.output(0);
        double error = 0;
        if (first.empty()) {
          first = out;
          error = chain.sampled_error(0, out);
        }
        const bool same = out == first;
        const bool ok = same && error <= 4e-3;
        if (!ok) {
          ++failures;
          fmt::print("FAIL {} m {} ratio {}: error {:.2e}, bitwise equal {}\n", shape.name, batch,
                     ratio, error, same);
        }
        const double ms = chain.time_in_graph(graph_length(bench, chain), true, 5);
        const double alone_ms = chain.time_alone(ratio > 0.1 ? 5 : 11);
        const double per_pass = static_cast<double>(chain.size());
        const double local = static_cast<double>(chain.bytes(0)) / per_pass;
        const double remote = remote_bytes(bench, chain) / per_pass;
        const double bound_ms = 1e3 * bound_s(bench, chain) / per_pass;
        LinkReading link = bench.links.read(1, bench.stream);
        if (bench.machine.kernels == KernelKind::kPlain) link.window_bytes = 0;  // there is none
        fmt::print(
            "{:18} {:3} {:6.3f} {:8.1f} {:8.1f} {:9.1f} {:9.1f} {:7.1f} {:7.1f} {:6.1f} {:6.1f} "
            "{:7} {:6.2f}\n",
            shape.name, batch, ratio, local / 1e6, remote / 1e6, ms * 1e3, alone_ms * 1e3,
            gb(local / (ms * 1e-3)), gb(remote / (ms * 1e-3)), 100 * bound_ms / ms,
            100 * bound_ms / alone_ms, link.window_bytes / kKiB, link.delay_us);
        rows.push_back(fmt::format(
            R"({{"weight":"{}","rows":{},"cols":{},"batch":{},"ratio":{},"local_bytes":{},)"
            R"("remote_bytes":{},"us_in_graph":{:.2f},"us_alone":{:.2f},"bound_us":{:.2f},)"
            R"("percent_in_graph":{:.2f},"percent_alone":{:.2f},"window_bytes":{},)"
            R"("delay_us":{:.3f},"error":{:.3e},"bitwise_equal":{}}})",
            shape.name, shape.rows, shape.cols, batch, ratio, local, remote, ms * 1e3,
            alone_ms * 1e3, bound_ms * 1e3, 100 * bound_ms / ms, 100 * bound_ms / alone_ms,
            link.window_bytes, link.delay_us, error, same));
      }
    }
  }
  return rows;
}

Rows run_windows(const Bench& bench) {
  Rows rows;
  // Remote part a little above the matched share, so that the link is busy all the time.
  const double matched = bench.machine.remote_bytes_per_s /
                         (bench.machine.remote_bytes_per_s + bench.machine.local_bytes_per_s);
  const Shape& shape = kShapes[2];
  const auto weights =
      place_weights(bench.arenas, rotation(bench, shape), std::ceil(matched * 448) / 448,
                    bench.machine.link_bytes_per_s);
  Chain chain(weights, 8, bench.machine, bench.links, bench.stream);
  fmt::print("window sweep: {} m 8, {:.2f} % remote\n", shape.name,
             100.0 * remote_bytes(bench, chain) /
                 (static_cast<double>(chain.bytes(0)) + remote_bytes(bench, chain)));
  for (const int64_t kib :
       {16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 2560, 3072, 0}) {
    bench.links.set_fixed_window(1, kib * kKiB);
    if (kib == 0) bench.links.reset();
    const double ms = chain.time_in_graph(4 * chain.size(), true, 5);
    const double per_pass = static_cast<double>(chain.size());
    const double local = static_cast<double>(chain.bytes(0)) / per_pass / (ms * 1e-3);
    const double remote = remote_bytes(bench, chain) / per_pass / (ms * 1e-3);
    const LinkReading link = bench.links.read(1, bench.stream);
    const double percent = 100 * 1e3 * bound_s(bench, chain) / per_pass / ms;
    fmt::print(
        "  {:>8} window {:5} KiB delay {:7.2f} us  local {:7.1f} ({:5.1f} %) remote {:6.1f} "
        "({:5.1f} %) bound {:5.1f} %\n",
        kib == 0 ? "adaptive" : "fixed", link.window_bytes / kKiB, link.delay_us, gb(local),
        100 * local / bench.machine.local_bytes_per_s, gb(remote),
        100 * remote / bench.machine.remote_bytes_per_s, percent);
    rows.push_back(
        fmt::format(R"({{"mode":"{}","window_bytes":{},"delay_us":{:.3f},"local_gb_s":{:.2f},)"
                    R"("remote_gb_s":{:.2f},"percent":{:.2f}}})",
                    kib == 0 ? "adaptive" : "fixed", link.window_bytes, link.delay_us, gb(local),
                    gb(remote), percent));
  }
  return rows;
}

Rows run_chains(const Bench& bench) {
  Rows rows;
  std::vector<Shape> layers;
  for (int layer = 0; layer < 2; ++layer)
    layers.insert(layers.end(), kShapes.begin(), kShapes.begin() + 4);
  for (const int64_t batch : {1, 8, 32}) {
    for (const double ratio : {0.0, 0.016, 0.05, 0.2}) {
      const auto weights =
          place_weights(bench.arenas, layers, ratio, bench.machine.link_bytes_per_s);
      Chain chain(weights, batch, bench.machine, bench.links, bench.stream);
      const double with_ms = chain.time_in_graph(4 * chain.size(), true, 5);
      const double without_ms = chain.time_in_graph(4 * chain.size(), false, 5);
      const double bound_ms = 1e3 * bound_s(bench, chain) / static_cast<double>(chain.size());
      fmt::print(
          "chain opt30b m {:2} ratio {:5.3f}: layer {:8.1f} us overlapped ({:5.1f} %), "
          "{:8.1f} us not ({:5.1f} %)\n",
          batch, ratio, 4e3 * with_ms, 100 * bound_ms / with_ms, 4e3 * without_ms,
          100 * bound_ms / without_ms);
      rows.push_back(fmt::format(
          R"({{"batch":{},"ratio":{},"layer_us_overlapped":{:.2f},"layer_us_not":{:.2f},)"
          R"("percent_overlapped":{:.2f},"percent_not":{:.2f}}})",
          batch, ratio, 4e3 * with_ms, 4e3 * without_ms, 100 * bound_ms / with_ms,
          100 * bound_ms / without_ms));
    }
  }
  return rows;
}

Rows run_reaction(const Bench& bench) {
  Rows rows;
  const auto weights = place_weights(bench.arenas, rotation(bench, kShapes[1]), 0.05,
                                     bench.machine.link_bytes_per_s);
  Chain chain(weights, 8, bench.machine, bench.links, bench.stream);
  chain.capture(chain.size(), true);
  chain.replay();
  bench.links.reset();
  cudaStream_t other = nullptr;
  cuda_check(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
  const DeviceBuffer target(256 << 20);
  const auto start = std::chrono::steady_clock::now();
  for (int step = 0; step < 48; ++step) {
    const bool copying = step >= 16 && step < 32;
    if (copying) {
      cuda_check(
          cudaMemcpyAsync(target.as(), bench.arenas.remote(), 256 << 20, cudaMemcpyDefault, other));
    }
    const auto before = bench.links.read(1, bench.stream);
    const auto begin = std::chrono::steady_clock::now();
    chain.replay();
    const LinkReading link = bench.links.read(1, bench.stream);
    const auto now = std::chrono::steady_clock::now();
    const double ms = std::chrono::duration<double, std::milli>(now - begin).count();
    const double remote = static_cast<double>(link.read_bytes - before.read_bytes) / (ms * 1e-3);
    const double at_ms = std::chrono::duration<double, std::milli>(now - start).count();
    if (!copying) cuda_check(cudaStreamSynchronize(other));
    if (step < 6 || step % 4 == 0 || (step >= 15 && step < 20)) {
      fmt::print(
          "  t {:7.2f} ms {:8} window {:5} KiB delay {:6.2f} us (least {:.2f}) remote {:6.1f} "
          "GB/s updates {}\n",
          at_ms, copying ? "copying" : "alone", link.window_bytes / kKiB, link.delay_us,
          link.min_delay_us, gb(remote), link.updates);
    }
    rows.push_back(fmt::format(
        R"({{"ms":{:.3f},"copying":{},"window_bytes":{},"delay_us":{:.3f},"min_delay_us":{:.3f},)"
        R"("remote_gb_s":{:.2f},"updates":{}}})",
        at_ms, copying, link.window_bytes, link.delay_us, link.min_delay_us, gb(remote),
        link.updates));
  }
  cuda_check(cudaStreamSynchronize(other));
  cuda_check(cudaStreamDestroy(other));
  return rows;
}

}  // namespace dak::bench
