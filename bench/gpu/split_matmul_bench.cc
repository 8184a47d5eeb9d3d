// dak_bench_split_matmul: the split decode matmul against the bound max over tiers of
// bytes / bandwidth, both probed in the same run.
//   --remote host|peer|peer+host  --json FILE  --sections matmul,window,chain,react
//   --batches 1,8  --ratios 0,0.05  --only NAME  --kernels auto|tma|plain
#include <fmt/core.h>

#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

#include "base/error.h"
#include "gpu/bench_cases.h"
#include "kernels/cuda_check.h"
#include "kernels/tier_reader.h"

namespace dak::bench {
namespace {

constexpr int64_t kArenaBytes = 3'000'000'512;

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (i + 1 >= argc) throw_invalid(flag, {}, {}, "needs a value");
    const std::string value = argv[++i];
    if (flag == "--remote") {
      options.remote = value;
    } else if (flag == "--json") {
      options.json = value;
    } else if (flag == "--sections") {
      options.sections = split(value);
    } else if (flag == "--kernels") {
      options.kernels = parse_kernel_kind(value, flag);
    } else if (flag == "--only") {
      options.only = value;
    } else if (flag == "--batches") {
      options.batches.clear();
      for (const auto& part : split(value)) options.batches.push_back(std::stoll(part));
    } else if (flag == "--ratios") {
      options.ratios.clear();
      for (const auto& part : split(value)) options.ratios.push_back(std::stod(part));
    } else {
      throw_invalid(flag, {}, {}, "unknown flag");
    }
  }
  return options;
}

std::string join(const Rows& rows) {
  std::string text;
  for (const std::string& row : rows) text += (text.empty() ? "\n  " : ",\n  ") + row;
  return "[" + text + "]";
}

// Only the TMA kernels have a window.
std::vector<std::string> sections_of(const Options& options, KernelKind kernels) {
  const bool window = kernels == KernelKind::kTma;
  if (options.sections.empty()) {
    return window ? std::vector<std::string>{"matmul", "window", "chain", "react"}
                  : std::vector<std::string>{"matmul", "chain"};
  }
  for (const std::string& section : options.sections) {
    if (!window && (section == "window" || section == "react")) {
      throw_unsupported("--sections", {}, section, "the plain kernels have no window");
    }
  }
  return options.sections;
}

int run(const Options& options) {
  const KernelSupport support = supported_kernels(0);
  const KernelKind kernels = choose_kernels(options.kernels, support);
  const std::vector<std::string> sections = sections_of(options, kernels);
  const Arenas arenas(options.remote, kArenaBytes);
  const Machine machine = probe(arenas, options.remote, kernels);
  fmt::print("{}, {} SMs, remote {}, kernels {}: HBM alone {:.1f} GB/s, link alone {:.1f} GB/s\n",
             machine.gpu, machine.sm_count, machine.remote, name(kernels),
             machine.local_bytes_per_s / 1e9, machine.remote_bytes_per_s / 1e9);
  // How many SMs HBM needs: what a share that leaves some idle may cost.
  std::string by_blocks;
  for (const int blocks : {68, 100, 112, 120, 128, machine.sm_count}) {
    const double rate = measure_read_bandwidth({.data = arenas.local(),
                                                .size_bytes = arenas.size_bytes(),
                                                .thread_blocks = blocks,
                                                .chunks_in_flight = 12,
                                                .kernels = kernels},
                                               5);
    fmt::print("  HBM read by {} thread blocks: {:.1f} GB/s\n", blocks, rate / 1e9);
    by_blocks += fmt::format(R"({}"{}":{:.1f})", by_blocks.empty() ? "" : ",", blocks, rate / 1e9);
  }
  LinkController links;
  cudaStream_t stream = nullptr;
  cuda_check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  const Bench bench{options, arenas, machine, links, stream};
  int failures = 0;
  std::string json =
      fmt::format(R"({{"gpu":"{}","sm_count":{},"remote":"{}","kernels":"{}","local_gb_s":{:.2f},)"
                  R"("remote_gb_s":{:.2f},)"
                  R"("local_gb_s_by_thread_blocks":{{{}}})",
                  machine.gpu, machine.sm_count, machine.remote, name(kernels),
                  machine.local_bytes_per_s / 1e9, machine.remote_bytes_per_s / 1e9, by_blocks);
  for (const std::string& section : sections) {
    Rows rows;
    if (section == "window") {
      rows = run_windows(bench);
    } else if (section == "chain") {
      rows = run_chains(bench);
    } else if (section == "react") {
      rows = run_reaction(bench);
    } else if (section == "matmul") {
      rows = run_matmuls(bench, failures);
    } else {
      throw_invalid("--sections", {}, section, "unknown section");
    }
    json += fmt::format(",\n\"{}\":{}", section, join(rows));
    if (!options.json.empty()) std::ofstream(options.json) << json << "}\n";
    std::fflush(stdout);
  }
  cuda_check(cudaStreamDestroy(stream));
  fmt::print("{} failures\n", failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace dak::bench

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // a run that is cut off shows how far it came
  try {
    if (!dak::has_cuda_device()) {
      fmt::print("no CUDA device: skipped\n");
      return 0;
    }
    return dak::bench::run(dak::bench::parse(argc, argv));
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
}
