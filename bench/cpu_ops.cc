// dak_bench_cpu: what the CPU backend reaches of what the machine can do.
//   decode:  bf16 weights at batch 1, bytes per second against a plain read loop over the same
//   bytes prefill: matmul with bf16 weights, FLOP/s against oneDNN f32 sgemm on plain row-major
//   weights
// Both sides of a ratio are timed back to back, verified first; the ratio is the median of repeats.
#include "bench/cpu_ops.h"

#include <fmt/core.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <span>

#include "base/numbers.h"
#include "base/units.h"
#include "bench/onednn_sgemm.h"
#include "ops/cpu/kernels.h"

namespace dak::bench {
namespace {

constexpr double kDecodeTarget = 0.60;
constexpr double kPrefillTarget = 0.50;

struct Options {
  bool json = false;
  bool check = false;
  int64_t mib = 1024;
  int repeats = 9;
  int threads = 0;
  bool prefill = true;
  bool decode = true;
};

constexpr const char* kUsage =
    "dak_bench_cpu [--json] [--check] [--mib N] [--repeats N] [--threads N] [--decode | "
    "--prefill]\n"
    "  --json     print one JSON object instead of the tables\n"
    "  --check    exit with 1 when a ratio is below its target\n"
    "  --mib      working set of decode in MiB (default 1024)\n"
    "  --repeats  timed repeats (default 9)\n"
    "  --threads  default: the CPUs this process may use\n"
    "  --decode, --prefill  only that half\n";

int64_t number(std::string_view flag, const char* text) {
  if (text == nullptr) throw_invalid(flag, "", "", "needs a number", "give one, e.g. 9");
  const int64_t value = parse_whole(text, flag);
  if (value < 1 || value > 1 << 20) throw_invalid(flag, "", text, "not in 1 .. 1048576");
  return value;
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    const auto next = [&] { return number(flag, ++i < argc ? argv[i] : nullptr); };
    if (flag == "--json") {
      options.json = true;
    } else if (flag == "--check") {
      options.check = true;
    } else if (flag == "--mib") {
      options.mib = next();
    } else if (flag == "--repeats") {
      options.repeats = static_cast<int>(next());
    } else if (flag == "--threads") {
      options.threads = static_cast<int>(next());
    } else if (flag == "--decode") {
      options.prefill = false;
    } else if (flag == "--prefill") {
      options.decode = false;
    } else {
      throw_invalid(flag, "", "", "unknown flag", "run dak_bench_cpu --help");
    }
  }
  if (!options.prefill && !options.decode) options.prefill = options.decode = true;
  return options;
}

std::string_view verdict(double ratio, double target) { return ratio >= target ? "PASS" : "FAIL"; }

double gigabytes_per_s(int64_t bytes, const Times& t) {
  return static_cast<double>(bytes) / t.median() * 1e-9;
}

double gigaflops(const PrefillResult& r, const Times& t) {
  return 2.0 * static_cast<double>(r.m * r.shape.rows * r.shape.cols) / t.median() * 1e-9;
}

void print_decode(const std::vector<DecodeResult>& results) {
  fmt::print("\ndecode, batch 1, bf16 (target: {:.0f} % of the read loop)\n", kDecodeTarget * 100);
  fmt::print("{:<14} {:>10} {:>16} {:>16} {:>8}\n", "layers of", "bytes", "read loop GB/s",
             "matmul GB/s", "ratio");
  for (const DecodeResult& r : results) {
    fmt::print("{:<14} {:>10} {:>9.2f} ±{:>3.0f} % {:>9.2f} ±{:>3.0f} % {:>6.1f} % {}\n", r.model,
               format_bytes(r.bytes), gigabytes_per_s(r.bytes, r.read), r.read.spread() * 100,
               gigabytes_per_s(r.bytes, r.matmul), r.matmul.spread() * 100, r.ratio * 100,
               verdict(r.ratio, kDecodeTarget));
  }
}

void print_prefill(const std::vector<PrefillResult>& results) {
  fmt::print("\nprefill, bf16 weights (target: {:.0f} % of {} f32 sgemm)\n", kPrefillTarget * 100,
             onednn_version());
  fmt::print("{:<14} {:>5} {:>18} {:>18} {:>8}\n", "weight", "m", "oneDNN GFLOP/s",
             "matmul GFLOP/s", "ratio");
  for (const PrefillResult& r : results) {
    fmt::print("{:<14} {:>5} {:>11.1f} ±{:>3.0f} % {:>11.1f} ±{:>3.0f} % {:>6.1f} % {}\n",
               fmt::format("{} x {}", r.shape.rows, r.shape.cols), r.m, gigaflops(r, r.onednn),
               r.onednn.spread() * 100, gigaflops(r, r.matmul), r.matmul.spread() * 100,
               r.ratio * 100, verdict(r.ratio, kPrefillTarget));
  }
}

nlohmann::json to_json(const std::vector<DecodeResult>& decode,
                       const std::vector<PrefillResult>& prefill, int threads) {
  nlohmann::json root{{"threads", threads},
                      {"isa", cpu::kernels().isa},
                      {"onednn", onednn_version()},
                      {"decode_target", kDecodeTarget},
                      {"prefill_target", kPrefillTarget},
                      {"decode", nlohmann::json::array()},
                      {"prefill", nlohmann::json::array()}};
  for (const DecodeResult& r : decode) {
    root["decode"].push_back({{"layers_of", r.model},
                              {"bytes", r.bytes},
                              {"read_gb_s", gigabytes_per_s(r.bytes, r.read)},
                              {"read_spread", r.read.spread()},
                              {"matmul_gb_s", gigabytes_per_s(r.bytes, r.matmul)},
                              {"matmul_spread", r.matmul.spread()},
                              {"ratio", r.ratio},
                              {"pass", r.ratio >= kDecodeTarget}});
  }
  for (const PrefillResult& r : prefill) {
    root["prefill"].push_back({{"rows", r.shape.rows},
                               {"cols", r.shape.cols},
                               {"m", r.m},
                               {"onednn_gflop_s", gigaflops(r, r.onednn)},
                               {"onednn_spread", r.onednn.spread()},
                               {"matmul_gflop_s", gigaflops(r, r.matmul)},
                               {"matmul_spread", r.matmul.spread()},
                               {"ratio", r.ratio},
                               {"pass", r.ratio >= kPrefillTarget}});
  }
  return root;
}

int run(const Options& options) {
  ThreadPool pool(options.threads);
  OpContext ctx;
  ctx.pool = &pool;
  if (!options.json) fmt::print("{} threads, {}\n", pool.size(), cpu::kernels().isa);

  std::vector<DecodeResult> decode;
  if (options.decode) {
    const int64_t bytes = options.mib << 20;
    decode.push_back(measure_decode(ctx, "SmolLM2-135M", kSmolLm2Layer, std::size(kSmolLm2Layer),
                                    bytes, options.repeats));
    decode.push_back(measure_decode(ctx, "Llama-3-8B", kLlama8bLayer, std::size(kLlama8bLayer),
                                    bytes, options.repeats));
  }
  std::vector<PrefillResult> prefill;
  if (options.prefill && onednn_available()) {
    for (const Shape& shape : {kSmolLm2Layer[0], kSmolLm2Layer[4], kSmolLm2Layer[5],
                               kLlama8bLayer[0], kLlama8bLayer[5]}) {
      for (const int64_t m : {128, 256, 512}) {
        prefill.push_back(measure_prefill(ctx, shape, m, options.repeats));
      }
    }
  }

  if (options.json) {
    fmt::print("{}\n", to_json(decode, prefill, pool.size()).dump(2));
  } else {
    if (!decode.empty()) print_decode(decode);
    if (!prefill.empty()) print_prefill(prefill);
    if (options.prefill && !onednn_available()) {
      fmt::print("\nprefill: skipped, {}\n", onednn_version());
    }
  }
  bool pass = true;
  for (const DecodeResult& r : decode) pass = pass && r.ratio >= kDecodeTarget;
  for (const PrefillResult& r : prefill) pass = pass && r.ratio >= kPrefillTarget;
  return options.check && !pass ? 1 : 0;
}

}  // namespace
}  // namespace dak::bench

int main(int argc, char** argv) {
  try {
    if (argc == 2 && std::string_view(argv[1]) == "--help") {
      fmt::print("{}", dak::bench::kUsage);
      return 0;
    }
    return dak::bench::run(dak::bench::parse(argc, argv));
  } catch (const std::exception& error) {
    fmt::print(stderr, "dak_bench_cpu: {}\n", error.what());
    return 1;
  }
}
