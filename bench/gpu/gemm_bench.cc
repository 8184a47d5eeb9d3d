// dak_bench_gemm: the GEMM of many rows, resident against cuBLASLt, and offloaded against
// max(compute, link), with what its parts are good for. Every figure is of verified results.
//   --json FILE  --remote host|peer  --only NAME
//   --sections resident,offload,order  --tokens 512,1024
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "base/error.h"
#include "base/half.h"
#include "gpu/bench_setup.h"
#include "gpu/lt_matmul.h"
#include "kernels/cuda_check.h"
#include "kernels/gemm.h"
#include "kernels/random_fill.h"

namespace dak::bench {
namespace {

// The largest of these weights, and a little.
constexpr int64_t kArenaBytes = 1'000'000'512;
constexpr int64_t kMostTokens = 8192;

const std::vector<Shape> kShapes = {
    {"llama70b.qkv", 10240, 8192},  {"llama70b.o", 8192, 8192},  {"llama70b.gate_up", 57344, 8192},
    {"llama70b.down", 8192, 28672}, {"opt30b.qkv", 21504, 7168}, {"opt30b.out", 7168, 7168},
    {"opt30b.fc1", 28672, 7168},    {"opt30b.fc2", 7168, 28672},
};

struct Options {
  std::string json;
  std::string remote = "host";
  std::vector<std::string> sections = {"resident", "offload", "order"};
  std::vector<int64_t> tokens = {512, 1024, 2048, 4096};
  std::vector<double> ratios = {0.2, 0.4, 0.6};
  std::string only;
};

using Rows = std::vector<std::string>;  // JSON objects

// A weight of one shape in both tiers, x, and two outputs to compare.
class Bench {
 public:
  explicit Bench(const Options& chosen)
      : options(chosen),
        arenas(options.remote, kArenaBytes),
        machine(probe(arenas, options.remote, KernelKind::kTma)),
        x_(kMostTokens * 28672 * 2),
        out_(kMostTokens * 57344 * 2),
        reference_(kMostTokens * 57344 * 2) {
    cuda_check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    cuda_check(cudaEventCreate(&begin_));
    cuda_check(cudaEventCreate(&end_));
    random_fill(x_.as(), {.seed = 2, .count = x_.size_bytes() / 2}, stream_);
  }

  TieredTensor place(const Shape& shape, double ratio) const {
    return place_weights(arenas, {shape}, ratio)[0];
  }

  void enqueue(const GemmWeight& weight, int64_t tokens, const GemmForm& form, void* out) {
    gemm(weight,
         {.x = x_.as(),
          .x_stride = weight.cols(),
          .tokens = tokens,
          .out = out,
          .out_stride = weight.rows(),
          .out_dtype = DType::kBF16,
          .form = form},
         workspace_, links, stream_);
  }

  // Milliseconds of one, median of three runs of at least 15 ms, after one to warm up.
  template <typename Enqueue>
  double time(const Enqueue& one, int most = 200) {
    const auto run = [&](int count) {
      cuda_check(cudaEventRecord(begin_, stream_));
      for (int i = 0; i < count; ++i) one();
      cuda_check(cudaEventRecord(end_, stream_));
      cuda_check(cudaEventSynchronize(end_));
      float ms = 0;
      cuda_check(cudaEventElapsedTime(&ms, begin_, end_));
      return static_cast<double>(ms) / count;
    };
    const double first = run(2);
    const int count = std::clamp(static_cast<int>(15 / first), 2, most);
    return median({run(count), run(count), run(count)});
  }

  struct Timed {
    double ms;
    double read_bytes;  // remote, by one call
  };
  Timed time(const GemmWeight& weight, int64_t tokens, const GemmForm& form) {
    if (workspace_.reserve(weight)) cuda_check(cudaDeviceSynchronize());
    const int64_t before = links.read(1, stream_).read_bytes;
    int64_t calls = 0;
    const double ms = time([&] {
      enqueue(weight, tokens, form, out_.as());
      ++calls;
    });
    const int64_t read = links.read(1, stream_).read_bytes - before;
    return {ms, static_cast<double>(read) / static_cast<double>(calls)};
  }

  // Whether the whole output has the bits of the all local one; `keep`: it is that one.
  bool same_bits(const GemmWeight& weight, int64_t tokens, const GemmForm& form, bool keep) {
    if (workspace_.reserve(weight)) cuda_check(cudaDeviceSynchronize());
    const auto bytes = static_cast<size_t>(tokens * weight.rows() * 2);
    void* out = keep ? reference_.as() : out_.as();
    cuda_check(cudaMemsetAsync(out, 0xff, bytes, stream_));
    enqueue(weight, tokens, form, out);
    cuda_check(cudaStreamSynchronize(stream_));
    if (keep) return true;
    // Three stretches of it: whole outputs would take longer to fetch than to compute.
    const size_t piece = std::min<size_t>(bytes, size_t{4} << 20);
    std::vector<std::byte> a(piece);
    std::vector<std::byte> b(piece);
    for (const size_t offset : {size_t{0}, (bytes - piece) / 2 / 16 * 16, bytes - piece}) {
      cuda_check(cudaMemcpy(a.data(), out_.as() + offset, piece, cudaMemcpyDeviceToHost));
      cuda_check(cudaMemcpy(b.data(), reference_.as() + offset, piece, cudaMemcpyDeviceToHost));
      if (a != b) return false;
    }
    return true;
  }

  // Relative error of some of reference_'s outputs against fp64.
  double sampled_error(const TieredTensor& tensor, int64_t tokens) const {
    std::vector<uint16_t> x(static_cast<size_t>(tensor.cols));
    std::vector<uint16_t> block(static_cast<size_t>(tensor.block_bytes() / 2));
    std::vector<uint16_t> out(static_cast<size_t>(tensor.rows));
    double difference = 0;
    double norm = 0;
    for (const int64_t b : {int64_t{1}, static_cast<int64_t>(tensor.blocks.size()) - 1}) {
      cuda_check(cudaMemcpy(block.data(), tensor.blocks[static_cast<size_t>(b)].data,
                            block.size() * 2, cudaMemcpyDefault));
      for (const int64_t m : {int64_t{0}, tokens / 2 + 1, tokens - 1}) {
        cuda_check(cudaMemcpy(x.data(), x_.as() + m * tensor.cols * 2, x.size() * 2,
                              cudaMemcpyDeviceToHost));
        cuda_check(cudaMemcpy(out.data(), reference_.as() + m * tensor.rows * 2, out.size() * 2,
                              cudaMemcpyDeviceToHost));
        for (int64_t row = 0; row < 64; row += 5) {
          double sum = 0;
          for (int64_t k = 0; k < tensor.cols; ++k) {
            sum += static_cast<double>(bf16_to_f32(x[static_cast<size_t>(k)])) *
                   static_cast<double>(
                       bf16_to_f32(block[static_cast<size_t>(offset_in_block(row, k))]));
          }
          const double d =
              static_cast<double>(bf16_to_f32(out[static_cast<size_t>(b * 64 + row)])) - sum;
          difference += d * d;
          norm += sum * sum;
        }
      }
    }
    return std::sqrt(difference / norm);
  }

  double time_lt(const Shape& shape, int64_t tokens) {
    LtMatmul lt(tokens, shape.rows, shape.cols, 4);
    double best = 1e30;
    for (size_t i = 0; i < lt.algorithms(); ++i) {
      best =
          std::min(best, time([&] { lt.enqueue(i, arenas.local(), x_.as(), out_.as(), stream_); },
                              i == 0 ? 200 : 20));
    }
    return best;
  }

  bool wants(const Shape& shape) const {
    return shape.name.find(options.only) != std::string::npos;
  }

  const Options& options;
  const Arenas arenas;
  const Machine machine;
  const int readers = [this] {
    ReaderCounts counts{};
    counts[1] = readers_for(machine.remote_bytes_per_s);
    return gemm_readers_for(counts);
  }();
  LinkController links;
  int failures = 0;

 private:
  DeviceBuffer x_;
  DeviceBuffer out_;
  DeviceBuffer reference_;
  GemmWorkspace workspace_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t begin_ = nullptr;
  cudaEvent_t end_ = nullptr;
};

double flops(const Shape& shape, int64_t tokens) {
  return 2.0 * static_cast<double>(shape.rows) * static_cast<double>(shape.cols) *
         static_cast<double>(tokens);
}

double tflops(const Shape& shape, int64_t tokens, double ms) {
  return flops(shape, tokens) / (ms * 1e-3) / 1e12;
}

// All local: the forms of the kernel, and cuBLASLt's best of four algorithms, in the same run.
Rows run_resident(Bench& bench) {
  Rows rows;
  fmt::print(
      "{:18} {:>5} {:>9} {:>8} | {:>9} {:>8} {:>7} | one block a cluster, no halves, tile 128\n",
      "resident", "m", "us", "TFLOP/s", "lt us", "TFLOP/s", "% of lt");
  for (const Shape& shape : kShapes) {
    if (!bench.wants(shape)) continue;
    const TieredTensor tensor = bench.place(shape, 0);
    const GemmWeight weight(tensor);
    for (const int64_t tokens : bench.options.tokens) {
      bench.same_bits(weight, tokens, {}, /*keep=*/true);
      const double error = bench.sampled_error(tensor, tokens);
      const bool ok = error < 4e-3;  // half a place of bf16
      bench.failures += ok ? 0 : 1;
      const double ms = bench.time(weight, tokens, {}).ms;
      const double lt = bench.time_lt(shape, tokens);
      const double alone = bench.time(weight, tokens, {.token_tile = 256, .weight_ranks = 1}).ms;
      const double uncut = bench.time(weight, tokens, {.token_tile = 256, .halves = false}).ms;
      const double narrow = bench.time(weight, tokens, {.token_tile = 128}).ms;
      fmt::print(
          "{:18} {:>5} {:>9.1f} {:>8.1f} | {:>9.1f} {:>8.1f} {:>7.1f} | {:>9.1f} {:>9.1f} "
          "{:>9.1f}  {}\n",
          shape.name, tokens, ms * 1e3, tflops(shape, tokens, ms), lt * 1e3,
          tflops(shape, tokens, lt), 100 * lt / ms, alone * 1e3, uncut * 1e3, narrow * 1e3,
          ok ? "" : fmt::format("WRONG: error {:.2e}", error));
      rows.push_back(fmt::format(
          R"({{"weight":"{}","rows":{},"cols":{},"tokens":{},"us":{:.2f},"tflops":{:.2f},)"
          R"("cublaslt_us":{:.2f},"cublaslt_tflops":{:.2f},"percent_of_cublaslt":{:.2f},)"
          R"("us_no_cluster":{:.2f},"us_no_halves":{:.2f},"us_tile_128":{:.2f},)"
          R"("sampled_error":{:.3e}}})",
          shape.name, shape.rows, shape.cols, tokens, ms * 1e3, tflops(shape, tokens, ms), lt * 1e3,
          tflops(shape, tokens, lt), 100 * lt / ms, alone * 1e3, uncut * 1e3, narrow * 1e3, error));
    }
  }
  return rows;
}

struct Way {
  std::string name;
  GemmForm form;
};

// The ring, and straight from host memory with clusters that share weights among token tiles.
std::vector<Way> ways_for(int64_t tokens, bool all, int readers) {
  std::vector<Way> ways = {{"ring", {.readers = readers}},
                           {"no multicast", {.token_tile = 256, .weight_ranks = 1, .ring = false}}};
  for (int ranks = 2; all && ranks <= 16 && ranks * 256 <= tokens; ranks *= 2) {
    ways.push_back({fmt::format("multicast {}", ranks),
                    {.token_tile = 256, .weight_ranks = 1, .token_ranks = ranks, .ring = false}});
  }
  return ways;
}

void run_way(Bench& bench, Rows& rows, const Shape& shape, const GemmWeight& weight, double ratio,
             int64_t tokens, const Way& way, double resident_ms) {
  const bool same = bench.same_bits(weight, tokens, way.form, /*keep=*/false);
  bench.failures += same ? 0 : 1;
  const Bench::Timed timed = bench.time(weight, tokens, way.form);
  const auto remote = static_cast<double>(weight.traffic().read_bytes[1]);
  const double link_ms = remote / bench.machine.remote_bytes_per_s * 1e3;
  const double bound_ms = std::max(resident_ms, link_ms);
  const LinkReading link = bench.links.read(1, nullptr);
  fmt::print("{:16} {:>5} {:>6.2f} {:14} {:>9.1f} {:>8.1f} {:>6.1f} {:>5.2f} {:>8.1f} {:>8}  {}\n",
             shape.name, tokens, 100 * ratio, way.name, timed.ms * 1e3,
             tflops(shape, tokens, timed.ms), 100 * bound_ms / timed.ms, timed.read_bytes / remote,
             timed.read_bytes / timed.ms / 1e6, link.window_bytes >> 10,
             same ? "" : "DIFFERENT BITS");
  rows.push_back(fmt::format(
      R"({{"weight":"{}","tokens":{},"ratio":{:.4f},"way":"{}","us":{:.2f},"tflops":{:.2f},)"
      R"("resident_us":{:.2f},"link_us":{:.2f},"bound_by":"{}","percent_of_bound":{:.2f},)"
      R"("amplification":{:.4f},"remote_gb_s":{:.2f},"window_bytes":{},"same_bits":{}}})",
      shape.name, tokens, ratio, way.name, timed.ms * 1e3, tflops(shape, tokens, timed.ms),
      resident_ms * 1e3, link_ms * 1e3, resident_ms > link_ms ? "compute" : "link",
      100 * bound_ms / timed.ms, timed.read_bytes / remote, timed.read_bytes / timed.ms / 1e6,
      link.window_bytes, same));
}

// Rows where compute bounds (half and four fifths of the matched ratio), then where the link does.
Rows run_offload(Bench& bench, const std::vector<Way>& orders) {
  Rows rows;
  fmt::print("{:16} {:>5} {:>6} {:14} {:>9} {:>8} {:>6} {:>5} {:>8} {:>8}\n", "offloaded", "m", "%",
             "way", "us", "TFLOP/s", "%bound", "ampl", "GB/s rem", "win KiB");
  for (const Shape& shape : kShapes) {
    const bool is_sample = shape.name == "llama70b.o" || shape.name == "opt30b.fc1";
    if (!bench.wants(shape) || (bench.options.only.empty() && !is_sample)) continue;
    const GemmWeight local(bench.place(shape, 0));
    for (const int64_t tokens : bench.options.tokens) {
      bench.same_bits(local, tokens, {}, /*keep=*/true);
      const double resident_ms = bench.time(local, tokens, {}).ms;
      const double matched = resident_ms * 1e-3 * bench.machine.remote_bytes_per_s /
                             static_cast<double>(local.traffic().total_bytes());
      std::vector<double> ratios = {0.5 * matched, 0.8 * matched};
      if (orders.empty()) {
        ratios.insert(ratios.end(), bench.options.ratios.begin(), bench.options.ratios.end());
      }
      for (const double ratio : ratios) {
        const GemmWeight weight(bench.place(shape, ratio));
        if (weight.traffic().read_bytes[1] == 0) continue;
        const bool all = ratio == bench.options.ratios[1] || ratio == ratios[1];
        for (const Way& way : orders.empty() ? ways_for(tokens, all, bench.readers) : orders) {
          run_way(bench, rows, shape, weight, ratio, tokens, way, resident_ms);
        }
      }
    }
  }
  return rows;
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; i += 2) {
    const std::string flag = argv[i];
    if (i + 1 >= argc) throw_invalid(flag, {}, {}, "needs a value");
    const std::string value = argv[i + 1];
    if (flag == "--json") {
      options.json = value;
    } else if (flag == "--remote") {
      if (value != "host" && value != "peer") throw_invalid(flag, {}, value, "is not host or peer");
      options.remote = value;
    } else if (flag == "--sections") {
      options.sections = split(value);
    } else if (flag == "--only") {
      options.only = value;
    } else if (flag == "--tokens") {
      options.tokens.clear();
      for (const std::string& part : split(value)) {
        options.tokens.push_back(std::stoll(part));
        if (options.tokens.back() > kMostTokens) throw_invalid(flag, {}, part, "is above 8192");
      }
    } else {
      throw_invalid(flag, {}, {}, "unknown flag");
    }
  }
  return options;
}

int run(const Options& options) {
  Bench bench(options);
  fmt::print("{}, {} SMs, remote {}: HBM alone {:.1f} GB/s, link alone {:.1f} GB/s\n",
             bench.machine.gpu, bench.machine.sm_count, bench.machine.remote,
             bench.machine.local_bytes_per_s / 1e9, bench.machine.remote_bytes_per_s / 1e9);
  std::string json = fmt::format(
      R"({{"gpu":"{}","sm_count":{},"remote":"{}","local_gb_s":{:.2f},"remote_gb_s":{:.2f})",
      bench.machine.gpu, bench.machine.sm_count, bench.machine.remote,
      bench.machine.local_bytes_per_s / 1e9, bench.machine.remote_bytes_per_s / 1e9);
  for (const std::string& section : options.sections) {
    Rows rows;
    if (section == "resident") {
      rows = run_resident(bench);
    } else if (section == "offload") {
      rows = run_offload(bench, {});
    } else if (section == "order") {
      const int readers = bench.readers;
      rows = run_offload(bench, {{"spread", {.readers = readers}},
                                 {"first", {.order = GemmOrder::kFirst, .readers = readers}},
                                 {"last", {.order = GemmOrder::kLast, .readers = readers}},
                                 {"32 readers", {.readers = 32}},
                                 {"all readers", {}},
                                 {"no halves", {.halves = false, .readers = readers}}});
    } else {
      throw_invalid("--sections", {}, section, "unknown section");
    }
    std::string text;
    for (const std::string& row : rows) text += (text.empty() ? "\n  " : ",\n  ") + row;
    json += fmt::format(",\n\"{}\":[{}]", section, text);
    if (!options.json.empty()) std::ofstream(options.json) << json << "}\n";
    std::fflush(stdout);
  }
  fmt::print("{} failures\n", bench.failures);
  return bench.failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace dak::bench

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // a run that is cut off shows how far it came
  try {
    if (!dak::has_cuda_device() || !dak::supported_kernels(0).tma) {
      fmt::print("no CUDA device with TMA: skipped\n");
      return 0;
    }
    return dak::bench::run(dak::bench::parse(argc, argv));
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
}
